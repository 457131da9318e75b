"""An answer as JSON, and its type as JSON Schema: names of fields in camel case, nothing left out."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Mapping
from enum import Enum
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

from chains.web.api.shapes import Form


def plain(value: Any) -> Any:
    """Return a dataclass as plain values for JSON."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {camel(one.name): plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    return value.value if isinstance(value, Enum) else value


def camel(name: str) -> str:
    """Return a name in camel case: ``checked_at`` is ``checkedAt``."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


class Schemas:
    """Collects the schemas of types, each once. ``components`` has them by name."""

    def __init__(self) -> None:
        self.components: dict[str, Any] = {}

    def of(self, given: Any) -> dict[str, Any]:
        """Return the schema of a type, or a reference to it."""
        if get_origin(given) is Annotated:
            return self._annotated(*get_args(given))
        if get_origin(given) in {Union, types.UnionType}:
            return self._either(get_args(given))
        if get_origin(given) is tuple:
            return {"type": "array", "items": self.of(get_args(given)[0])}
        if given in _SIMPLE:
            return {"type": _SIMPLE[given]}
        if isinstance(given, type) and (dataclasses.is_dataclass(given) or issubclass(given, Enum)):
            if given.__name__ not in self.components:
                self.components[given.__name__] = {}  # a type may contain itself
                self.components[given.__name__] = self._named(given)
            return {"$ref": f"#/components/schemas/{given.__name__}"}
        raise TypeError(f"{given} has no schema")

    def _annotated(self, given: Any, *notes: Any) -> dict[str, Any]:
        schema = self.of(given)
        for note in notes:
            if isinstance(note, Form):
                schema["format"] = note.name
            else:
                schema["description"] = note
        return schema

    def _either(self, kinds: tuple[Any, ...]) -> dict[str, Any]:
        (kind,) = (one for one in kinds if one is not type(None))
        schema = self.of(kind)
        if "$ref" in schema:
            return {"oneOf": [schema, {"type": "null"}]}
        return {**schema, "type": [schema["type"], "null"]}

    def _named(self, given: type[Any]) -> dict[str, Any]:
        text = " ".join((inspect.getdoc(given) or "").replace("``", "").split())
        if issubclass(given, Enum):
            return {"type": "string", "description": text, "enum": [one.value for one in given]}
        hints = get_type_hints(given, include_extras=True)
        names = [one.name for one in dataclasses.fields(given)]
        return {
            "type": "object",
            "description": text,
            "properties": {camel(name): self.of(hints[name]) for name in names},
            "required": [camel(name) for name in names],
        }


_SIMPLE: Mapping[Any, str] = {str: "string", int: "integer", bool: "boolean", float: "number"}
