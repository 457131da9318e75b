"""What a statement claims about its making, whatever its shape; true as far as its signer is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chains.predicates.scai_execution import SCAI
from chains.statement import SLSA_V02, SLSA_V1, Statement


def builder_id(statement: Statement) -> str:
    """Return the builder's id that a provenance statement tells, else ``""``."""
    if statement.predicate_type == SLSA_V02:
        return text_at(statement.predicate, "builder", "id")
    return text_at(statement.predicate, "runDetails", "builder", "id")


def build_type(statement: Statement) -> str:
    """Return the build type that a provenance statement tells, else ``""``."""
    if statement.predicate_type == SLSA_V02:
        return text_at(statement.predicate, "buildType")
    return text_at(statement.predicate, "buildDefinition", "buildType")


def run_uid(statement: Statement) -> str:
    """Return the UID of the run that a statement tells, else ``""``: SLSA v0.2 has no place for it."""
    if statement.predicate_type == SLSA_V1:
        metadata = ("runDetails", "metadata")
        # the second is what earlier Go types of in-toto wrote; a statement with both was refused
        return text_at(statement.predicate, *metadata, "invocationId") or text_at(
            statement.predicate, *metadata, "invocationID"
        )
    if statement.predicate_type == SCAI:
        return text_at(run_outcome(statement), "conditions", "uid")
    return ""


def run_outcome(statement: Statement) -> Mapping[str, Any]:
    """Return the attribute RUN_OUTCOME of an execution report; empty unless there is exactly one."""
    attributes = statement.predicate.get("attributes")
    found = [
        attribute
        for attribute in (attributes if isinstance(attributes, list) else ())
        if isinstance(attribute, dict) and attribute.get("attribute") == "RUN_OUTCOME"
    ]
    return found[0] if len(found) == 1 else {}


def hermetic_level(statement: Statement) -> str:
    """Return the level that an execution report tells, ``""`` unless it tells exactly one."""
    attributes = statement.predicate.get("attributes")
    found = [
        text_at(attribute, "conditions", "level")
        for attribute in (attributes if isinstance(attributes, list) else ())
        if isinstance(attribute, dict) and attribute.get("attribute") == "HERMETIC_LEVEL"
    ]
    return found[0] if len(found) == 1 else ""


def text_at(value: object, *path: str) -> str:
    """Return the string under a path of keys, ``""`` where there is none."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else ""
