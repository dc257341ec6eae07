"""The values of a row: what each argument of `Record` accepts, and what is found inside prompts and scores."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from router_integrations.learning import Record

# For each argument of `Record`: the name that the source has for it, and its value there.
Columns = dict[str, tuple[str, Any]]

_REQUIRED = frozenset({"text", "candidate", "quality"})
_PROMPTS = ("messages", "prompts", "prompt", "input", "question")


class Fault(Exception):
    """What is wrong with a field of a row; `field` is the source's own name for it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field
        self.reason = reason


def take(row: Mapping[str, Any], **names: str) -> Columns:
    """Return columns of a row under our names.

    >>> take({"model": "small"}, candidate="model")
    {'candidate': ('model', 'small')}
    """
    return {ours: (theirs, row.get(theirs)) for ours, theirs in names.items()}


def checked(columns: Columns) -> Record | Fault:
    """Return the record that the columns make, or what is wrong with the first bad one.

    >>> str(checked({"text": ("prompt", "2+2?"), "candidate": ("model", "small"), "quality": ("score", "7")}))
    'score must be in [0, 1] but is 7.0; rescale the grades'
    """
    values: dict[str, Any] = {}
    for ours, (theirs, value) in columns.items():
        if value is None and ours not in _REQUIRED:
            continue
        try:
            values[ours] = CHECKS[ours](value.tolist() if hasattr(value, "tolist") else value)
        except ValueError as error:
            return Fault(theirs, str(error))
    if values.get("over") == values["candidate"]:
        return Fault(columns["over"][0], f"is {values['candidate']!r} like the other one")
    return Record(**values)


def absent(value: Any) -> bool:
    """Whether nothing is there: `None`, NaN or blank text.

    >>> absent(" "), absent(float("nan")), absent(0)
    (True, True, False)
    """
    return value is None or (not value.strip() if isinstance(value, str) else value != value)


def shown(value: Any) -> str:
    """Return a value as a message shows it, cut short.

    >>> shown("x" * 100)[-6:]
    'xxx...'
    """
    whole = repr(value)
    return whole if len(whole) <= 60 else f"{whole[:57]}..."


def _text(value: Any) -> str:
    if absent(value):
        raise ValueError("is missing")
    if not isinstance(value, str):
        raise ValueError(f"must be text but is {shown(value)}")
    if not value.isascii() and any("\ud800" <= sign <= "\udfff" for sign in value):
        raise ValueError("is not valid UTF-8")
    return value


def _label(value: Any) -> str | None:
    return None if absent(value) else _text(str(value))


def _number(value: Any) -> float | None:
    if absent(value):
        return None
    if isinstance(value, str):
        value = {"true": 1, "false": 0}.get(value.strip().lower(), value)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"must be a number but is {shown(value)}") from None
    return None if math.isnan(number) else number


def _quality(value: Any) -> float:
    number = _number(value)
    if number is None:
        raise ValueError("is missing")
    if not 0 <= number <= 1:
        raise ValueError(f"must be in [0, 1] but is {number!r}; rescale the grades")
    return number


def _amount(value: Any) -> float | None:
    number = _number(value)
    if number is not None and not 0 <= number < math.inf:
        raise ValueError(f"must be finite and not below 0 but is {number!r}")
    return number


def _count(value: Any) -> int | None:
    number = _amount(value)
    if number is not None and number != int(number):
        raise ValueError(f"must be a whole number but is {number!r}")
    return None if number is None else int(number)


def _images(value: Any) -> tuple[str, ...]:
    found = _parsed(value)
    if absent(found):
        return ()
    found = [found] if isinstance(found, str) else found
    if not isinstance(found, list | tuple) or not all(isinstance(one, str) for one in found):
        raise ValueError(f"must be a list of URLs or data URIs but is {shown(found)}")
    return tuple(_text(one) for one in found)


def _logprobs(value: Any) -> tuple[float, ...]:
    found = _parsed(value)
    if absent(found):
        return ()
    if not isinstance(found, list | tuple):
        raise ValueError(f"must be a list of numbers but is {shown(found)}")
    numbers = [_number(one) for one in found]
    if any(one is None or one > 0 for one in numbers):
        raise ValueError("must hold log-probabilities, which are at most 0")
    return tuple(one for one in numbers if one is not None)


CHECKS: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "candidate": _text,
    "quality": _quality,
    "over": lambda value: None if absent(value) else _text(value),
    "cost": _amount,
    "latency": _amount,
    "input_tokens": _count,
    "output_tokens": _count,
    "query_id": lambda value: _label(value) or "",
    "domain": _label,
    "split": _label,
    "user_id": _label,
    "images": _images,
    "answer": _label,
    "logprobs": _logprobs,
}


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a mapping, given one or its JSON; an empty one for anything else.

    >>> mapping('{"a": 1}'), mapping(None)
    ({'a': 1}, {})
    """
    found = _parsed(value)
    return found if isinstance(found, Mapping) else {}


def human_turns(value: Any) -> list[str]:
    """Return what the user said, turn by turn, in messages of OpenAI or LangChain, a request body, or JSON of these.

    >>> human_turns('[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]')
    ['2+2?']
    """
    return [turn for turn in _turns(_parsed(value)) if turn.strip()]


def _turns(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list | tuple):
        return [turn for item in value for turn in _turns(item)]
    if not isinstance(value, Mapping):
        return []
    message = value.get("kwargs", value)  # LangChain's serialised form
    if isinstance(message, Mapping) and "content" in message:
        human = message.get("role", message.get("type")) in ("user", "human")
        return [_content(message["content"])] if human else []
    return next((_turns(value[name]) for name in _PROMPTS if name in value), [])


def _content(content: Any) -> str:
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list | tuple) else ()
    return "\n".join(str(part["text"]) for part in parts if isinstance(part, Mapping) and part.get("text"))


def _parsed(value: Any) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def unlisted(value: Any) -> Any:
    """Return the text in a Python list of one that was written out as text; anything else as it is.

    >>> unlisted("['2+2?']"), unlisted("[1] is a reference")
    ('2+2?', '[1] is a reference')
    """
    if not isinstance(value, str) or value[:2] not in ("['", '["') or value[-2:] not in ("']", '"]'):
        return value
    try:
        match ast.literal_eval(value):
            case [str(text)]:
                return text
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        pass
    return value


def seconds(start: Any, end: Any) -> Any:
    """Return the seconds between two times, given as such or in ISO 8601; `None` where one is absent.

    >>> seconds("2026-01-01T00:00:00Z", "2026-01-01T00:00:01.5Z")
    1.5
    """
    if absent(start) or absent(end):
        return None
    try:
        first, last = (time if isinstance(time, datetime) else datetime.fromisoformat(time) for time in (start, end))
        return (last - first).total_seconds()
    except (TypeError, ValueError):
        return f"{start} to {end}"


def scaled(value: Any, factor: float) -> Any:
    """Return a number in another unit; what is no number stays, to be refused by name.

    >>> scaled(1500, 0.001), scaled("soon", 0.001)
    (1.5, 'soon')
    """
    try:
        return None if absent(value) else float(value) * factor
    except (TypeError, ValueError, OverflowError):
        return value


def score(field: str, scores: Mapping[str, Any], grade: str | None) -> Any:
    """Return the score called `grade`, or the only one.

    Raises:
        Fault: There are several, and none was named.

    >>> score("scores", {"helpful": 1.0}, None)
    1.0
    """
    if grade is not None:
        return scores.get(grade)
    if len(scores) > 1:
        raise Fault(field, f"holds {', '.join(sorted(scores))}; name the one to learn from: grade=...")
    return next(iter(scores.values()), None)
