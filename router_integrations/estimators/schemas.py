"""Whether a value fits a JSON schema, and where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

# Characters of a validator's message, which quotes the value.
_LONGEST = 200


def inner_schema(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the schema itself where OpenAI's form wraps it.

    >>> inner_schema({"name": "age", "schema": {"type": "integer"}})
    {'type': 'integer'}
    """
    inner = schema.get("schema")
    return inner if isinstance(inner, Mapping) and "name" in schema else schema


def fits(value: Any, schema: Any) -> bool | None:
    """Return whether a value fits a schema; `None` when that is no valid schema. No reference is fetched.

    >>> fits(41, {"type": "integer"}), fits(41, {"type": "nonsense"})
    (True, None)
    """
    from jsonschema import SchemaError
    from referencing.exceptions import Unresolvable

    try:
        return bool(_validator(schema).is_valid(value))
    except (SchemaError, Unresolvable):
        return None


def misfit(value: Any, schema: Any) -> str | None:
    """Return in words what of a value breaks a schema; `None` when nothing does, or it is no valid schema.

    >>> misfit({"years": "old"}, {"properties": {"years": {"type": "integer"}}})
    "at years: 'old' is not of type 'integer'"
    """
    from jsonschema import SchemaError
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        error = best_match(_validator(schema).iter_errors(value))
    except (SchemaError, Unresolvable):
        return None
    if error is None:
        return None
    place = ".".join(str(step) for step in error.absolute_path)
    return f"at {place}: {error.message[:_LONGEST]}" if place else error.message[:_LONGEST]


def _validator(schema: Any) -> Validator:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    kind = validator_for(schema, default=Draft202012Validator)
    kind.check_schema(schema)
    # An empty registry, because the default one fetches references.
    return kind(schema, registry=Registry())
