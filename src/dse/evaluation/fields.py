"""The fields of a report, read back from its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, get_type_hints

from pydantic import TypeAdapter

NOT_IN_JSON = ("scores", "values")


def validated(cls: type[Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a dataclass as the types of its fields want them; what is no field is left out.

    Raises:
        ValueError: If a value is missing or of the wrong type; pydantic's error is one.
    """
    hints, found = get_type_hints(cls), {}
    for field in fields(cls):
        if field.name in NOT_IN_JSON:
            continue
        if field.name in values:
            found[field.name] = TypeAdapter(hints[field.name]).validate_python(values[field.name])
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{field.name} is missing")
    return found
