"""Whether a value read from a file has the type that a report has in its place."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

Fits = Callable[[Any], bool]


@cache
def fits(kind: Any) -> Fits:
    """Return a function that says whether a value is of a type of :mod:`chains.report.document.format`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return fits(arguments[0])
    if origin is Literal:
        words = frozenset(arguments)
        return lambda value: isinstance(value, str) and value in words
    if origin is list:
        entry = fits(arguments[0])
        return lambda value: isinstance(value, list) and all(map(entry, value))
    if origin is types.UnionType:
        several = [fits(one) for one in arguments]
        return lambda value: any(one(value) for one in several)
    if not is_typeddict(kind):
        # true and false are whole numbers to Python
        return lambda value: type(value) is kind
    members = {name: fits(one) for name, one in get_type_hints(kind, include_extras=True).items()}
    return lambda value: (
        isinstance(value, dict)
        and value.keys() == members.keys()
        and all(one(value[name]) for name, one in members.items())
    )
