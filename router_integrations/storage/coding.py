"""Objects of ours as plain JSON values and arrays, and back; nothing else can be made."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from router_integrations import estimators, strategies
from router_integrations.candidates import Candidate
from router_integrations.encoders import Encoder, HashingEncoder
from router_integrations.encoders_fusion import FusionEncoder, ImageEncoder
from router_integrations.errors import StorageError
from router_integrations.estimators.learned import Fitted, Learned
from router_integrations.gating import Gate
from router_integrations.limits import Limits
from router_integrations.pacer import Pacer
from router_integrations.storage.files import tampered
from router_integrations.types import Utility

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

# Deeper nesting is no router of ours.
_MAX_DEPTH = 16
# Encoded when saving and again when loading, to recognise the user's own encoder.
_SAMPLE = "How many primes are below 100? Answer in one word."
# One grey pixel.
_IMAGE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
_LEARNT = re.compile(r"[a-z][a-z0-9_]*_")
# What a class raises when it is made from, or works on, values that it never wrote itself.
_MISFITS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def classes() -> dict[str, type]:
    """Return, by name, the classes that a folder may hold: what the package exports, and nothing else.

    >>> {"Best", "Neighbors", "HashingEncoder"} <= set(classes())
    True
    """
    exported = [getattr(package, name) for package in (estimators, strategies) for name in package.__all__]
    ours = (*exported, FusionEncoder, HashingEncoder, Fitted, Gate, Limits, Pacer, Utility)
    return {one.__name__: one for one in ours if isinstance(one, type)}


class Writer:
    """Turns values into plain ones and keeps their arrays.

    Attributes:
        arrays: The arrays by name, each in one piece.
        layout: What each array must look like.

    >>> Writer().plain(Utility(enough=0.9), "utility")["object"]["options"]["enough"]
    0.9
    """

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}
        self.layout: dict[str, dict[str, Any]] = {}
        self._known: dict[int, tuple[str, Any]] = {}
        self._classes = classes()

    def plain(self, value: Any, where: str) -> Any:
        """Return `value` in plain JSON values.

        Args:
            value: A plain value, an array, an object of ours, or a collection of those.
            where: What it is, for messages and as the name of an array.

        Raises:
            StorageError: It holds something that is not ours.
        """
        import numpy as np

        match value:
            case np.generic():
                return self.plain(value.item(), where)
            case None | bool() | int() | str():
                return value
            case float():
                return value if math.isfinite(value) else {"float": str(value)}
            case list() | tuple():
                items = [self.plain(item, f"{where}.{index}") for index, item in enumerate(value)]
                return items if isinstance(value, list) else {"tuple": items}
            case Mapping() if all(isinstance(key, str) for key in value):
                return {"mapping": {key: self.plain(item, f"{where}.{key}") for key, item in value.items()}}
            case np.ndarray():
                return {"array": self._array(value, where)}
        return self._object(value, where)

    def _object(self, thing: Any, where: str) -> dict[str, Any]:
        name = type(thing).__name__
        if self._classes.get(name) is type(thing):
            options = {key: getattr(thing, key) for key in inspect.signature(type(thing)).parameters}
            own = getattr(thing, "__dict__", {})
            learnt = {key: item for key, item in own.items() if _LEARNT.fullmatch(key) and item is not None}
            return {
                "object": {
                    "class": name,
                    "options": {key: self.plain(item, f"{where}.{key}") for key, item in options.items()},
                    "learnt": {key: self.plain(item, f"{where}.{key}") for key, item in learnt.items()},
                }
            }
        if isinstance(thing, Encoder | ImageEncoder) and not isinstance(thing, type):
            kind = "encoder" if isinstance(thing, Encoder) else "image_encoder"
            return {kind: {"name": name, "sample": self.plain(_sample(thing, kind), f"{where}.sample")}}
        raise StorageError(
            f"{where} is a {name}, which is not ours, so no folder can hold it; save a router without it, and give "
            "yours to the router that you load",
            problem="unsupported",
        )

    def _array(self, array: Array, where: str) -> str:
        import numpy as np

        known = self._known.get(id(array))
        if known is not None:
            return known[0]
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise StorageError(
                f"{where} is an array of {array.dtype}; only numbers can be saved", problem="unsupported"
            )
        native = array.astype(array.dtype.newbyteorder("="), copy=False)
        # A product of matrices may differ in its last bits when their rows and columns lie otherwise in memory.
        order = sorted(range(array.ndim), key=lambda axis: -abs(array.strides[axis]))
        lying = native.transpose(order)
        self._known[id(array)] = (where, array)
        self.arrays[where] = np.ascontiguousarray(lying).reshape(lying.shape)
        self.layout[where] = {
            "dtype": native.dtype.name,
            "shape": list(array.shape),
            "order": order,
            "finite": bool(np.isfinite(array).all()),
        }
        return where


class Reader:
    """Makes values again from plain ones and arrays.

    Args:
        arrays: The arrays by name, as a `Writer` kept them.
        layout: What each array must look like.
        encoder: The user's own encoder, of texts, images or both; `None` when it is ours.

    Raises:
        StorageError: An array looks otherwise.

    >>> writer = Writer()
    >>> plain = writer.plain(Utility(enough=0.9), "utility")
    >>> Reader(writer.arrays, writer.layout).value(plain)
    Utility(enough=0.9, per_usd=0.0, per_second=0.0, optimism=0.0)
    """

    def __init__(
        self, arrays: Mapping[str, Array], layout: Mapping[str, Any], *, encoder: Encoder | ImageEncoder | None = None
    ) -> None:
        if set(arrays) != set(layout):
            raise tampered(f"it holds the arrays {sorted(arrays)} but should hold {sorted(layout)}")
        self.encoder_used = False
        self._arrays = {name: _laid_out(name, array, layout[name]) for name, array in arrays.items()}
        self._encoder = encoder
        self._classes = classes()

    def value(self, plain: Any, depth: int = 0) -> Any:
        """Return what was written as `plain`.

        Raises:
            StorageError: It is nothing that a `Writer` writes, or the user's own encoder is missing.
        """
        if depth > _MAX_DEPTH:
            raise tampered(f"values are nested more than {_MAX_DEPTH} deep")
        match plain:
            case list():
                return [self.value(item, depth + 1) for item in plain]
            case {"tuple": list(items)}:
                return tuple(self.value(item, depth + 1) for item in items)
            case {"mapping": dict(items)}:
                return self._values(items, depth)
            case {"encoder": {"name": str(name), "sample": sample}}:
                return self._own_encoder(name, "encoder", self.value(sample, depth + 1))
            case {"image_encoder": {"name": str(name), "sample": sample}}:
                return self._own_encoder(name, "image_encoder", self.value(sample, depth + 1))
            case {"object": {"class": str(name), "options": dict(options), "learnt": dict(learnt)}}:
                return self._object(name, self._values(options, depth), self._values(learnt, depth))
        return self._single(plain)

    def _single(self, plain: Any) -> Any:
        match plain:
            case None | bool() | int() | float() | str():
                return plain
            case {"float": "inf" | "-inf" | "nan" as word}:
                return float(word)
            case {"array": str(name)} if name in self._arrays:
                return self._arrays[name]
        raise tampered(f"it holds a value that no router has: {str(plain)[:80]!r}")

    def _values(self, items: Mapping[str, Any], depth: int) -> dict[str, Any]:
        return {key: self.value(item, depth + 1) for key, item in items.items()}

    def _object(self, name: str, options: Mapping[str, Any], learnt: Mapping[str, Any]) -> Any:
        cls = self._classes.get(name)
        if cls is None:
            raise StorageError(
                f"the folder asks for a class {name!r}, which this version does not have; it may make only "
                f"{', '.join(sorted(self._classes))}",
                problem="foreign",
            )
        strange = [key for key in learnt if not _LEARNT.fullmatch(key)]
        if strange:
            raise tampered(f"{name} learns nothing called {strange[0]!r}")
        try:
            thing = cls(**options)
            for key, item in learnt.items():
                setattr(thing, key, item)
            if isinstance(thing, Learned) and thing.fitted_ is not None:
                _try_out(thing, thing.fitted_)
        except _MISFITS as error:
            raise tampered(f"{name} cannot be made of what it holds ({error})") from error
        return thing

    def _own_encoder(self, name: str, kind: str, sample: Array) -> Encoder | ImageEncoder:
        encoder, self.encoder_used = self._encoder, True
        if encoder is None:
            raise StorageError(
                f"this router learnt with an encoder of your own, {name}, which no folder can hold; pass it: "
                f"load(folder, encoder={name}(...))",
                problem="incomplete",
            )
        import numpy as np

        able = isinstance(encoder, Encoder if kind == "encoder" else ImageEncoder)
        seen = _sample(encoder, kind) if able else None
        if seen is None or np.shape(seen) != np.shape(sample) or not np.allclose(seen, sample, rtol=1e-3, atol=1e-3):
            raise StorageError(
                f"encoder= is a {type(encoder).__name__} that turns a sample into another vector than the {name} "
                "that this router learnt with; pass that one, with the same model and settings",
                problem="incomplete",
            )
        return encoder


def _sample(encoder: Any, kind: str) -> Array:
    import numpy as np

    vectors = encoder.encode([_SAMPLE]) if kind == "encoder" else encoder.encode_images([_IMAGE])
    return np.asarray(vectors, dtype=np.float32)


def _laid_out(name: str, array: Array, layout: Any) -> Array:
    import numpy as np

    match layout:
        case {"dtype": str(dtype), "shape": list(shape), "order": list(order), "finite": bool(finite)}:
            if len(order) != array.ndim or any(axis not in order for axis in range(array.ndim)):
                raise tampered(f"the axes of {name} cannot lie in the order {order}")
            laid = array.transpose(np.argsort(order))
            if laid.dtype.name != dtype or list(laid.shape) != shape:
                raise tampered(f"{name} is {laid.dtype.name} {list(laid.shape)} but should be {dtype} {shape}")
            if finite and not np.isfinite(laid).all():
                raise tampered(f"{name} holds numbers that are not finite")
            return laid
    raise tampered(f"what {name} should look like is not said")


def _try_out(thing: Learned, fitted: Fitted) -> None:
    """Raise one of `_MISFITS` unless `thing` estimates as it should."""
    import numpy as np

    names = (*fitted.names, "somebody without records")
    if len({*names}) != len(names) or len(names) == 1 or fitted.output_tokens.shape != (len(fitted.names),):
        raise ValueError(f"its candidates {list(fitted.names)} do not fit its arrays")
    with np.errstate(all="ignore"):
        quality, std = thing.predict([_SAMPLE], [Candidate(name, model=thing) for name in names])
    if not (quality.shape == std.shape == (1, len(names)) and np.isfinite([quality, std]).all() and (std >= 0).all()):
        raise ValueError("its estimates are no numbers in range")
