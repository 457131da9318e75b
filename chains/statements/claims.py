"""What a statement claims about how something was built. It is as true as its signer is honest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chains.statements import slsa_names
from chains.statements.attributes import Attribute
from chains.statements.statement import SCAI, SLSA_V02, SLSA_V1, Statement
from chains.tekton.raw import objects_at, text_at

_RUN_NAME = re.compile(r"(?:taskrun|pipelinerun)/(?P<namespace>[^/]+)/[^/]+")


def builder_id(statement: Statement) -> str:
    """Return the builder id in a provenance statement, ``""`` if there is none."""
    if statement.predicate_type == SLSA_V02:
        return text_at(statement.predicate, "builder", "id")
    return text_at(statement.predicate, "runDetails", "builder", "id")


def build_type(statement: Statement) -> str:
    """Return the build type in a provenance statement, ``""`` if there is none."""
    if statement.predicate_type == SLSA_V02:
        return text_at(statement.predicate, "buildType")
    return text_at(statement.predicate, "buildDefinition", "buildType")


def verifier_id(statement: Statement) -> str:
    """Return the verifier's id in a Verification Summary or Simple Verification Result, ``""`` if none."""
    return text_at(statement.predicate, "verifier", "id")


def run_uid(statement: Statement) -> str:
    """Return the UID of the run that a statement names, ``""`` if none: SLSA v0.2 has no field for it."""
    return statement.once(_run_uid)


def _run_uid(statement: Statement) -> str:
    if statement.predicate_type == SLSA_V1:
        metadata = ("runDetails", "metadata")
        # earlier Go types of in-toto wrote the second spelling; a statement with both was refused before
        return text_at(statement.predicate, *metadata, "invocationId") or text_at(
            statement.predicate, *metadata, "invocationID"
        )
    if statement.predicate_type == SCAI:
        return text_at(run_outcome(statement), "conditions", "uid")
    return ""


def run_namespace(statement: Statement) -> str:
    """Return the namespace of the run that an execution report is about, ``""`` if it is not clear.

    The signer wrote it into the targets of RUN_OUTCOME and HERMETIC_LEVEL, as ``kind/namespace/name``.
    """
    return statement.once(_run_namespace)


def _run_namespace(statement: Statement) -> str:
    names = {
        text_at(attribute, "target", "name")
        for attribute in _attributes(statement, Attribute.RUN_OUTCOME, Attribute.HERMETIC_LEVEL)
    }
    match = _RUN_NAME.fullmatch(names.pop()) if len(names) == 1 else None
    return match["namespace"] if match else ""


@dataclass(frozen=True, slots=True)
class Resolved:
    """Where Tekton resolved a run's own task or pipeline from, according to the statement."""

    resolver: str
    digest: Mapping[str, Any]
    path: str

    def __str__(self) -> str:
        digests = " ".join(f"{name}:{value}" for name, value in self.digest.items()) or "no digest"
        return f"{self.resolver or 'no resolver'}@{digests}" + (f"#{self.path}" if self.path else "")


def resolved(statement: Statement, kind: str) -> Resolved | None:
    """Return where the run's own ``task`` or ``pipeline`` came from; None if the statement does not say.

    SLSA v0.2 has no resolver, and other builders' parameters mean something else.
    """
    if statement.predicate_type != SLSA_V1 or build_type(statement) not in slsa_names.BUILD_TYPES:
        return None
    definition = statement.predicate["buildDefinition"]
    external = definition.get("externalParameters")
    resolver = text_at(external, "runSpec", f"{kind}Ref", "resolver")
    named = [item for item in objects_at(definition, "resolvedDependencies") if item.get("name") == kind]
    if not resolver or len(named) != 1:
        return None
    digest = named[0].get("digest")
    path = text_at(external, "buildConfigSource", "path")
    return Resolved(resolver, digest if isinstance(digest, Mapping) else {}, path)


def sources(statement: Statement) -> list[tuple[str, Mapping[str, Any]]]:
    """Return (URI, digests) of the inputs in a statement. They are claims of the task that ran."""
    if statement.predicate_type == SLSA_V02:
        found = objects_at(statement.predicate, "materials")
    else:
        listed = objects_at(statement.predicate, "buildDefinition", "resolvedDependencies")
        found = [item for item in listed if item.get("name") == slsa_names.INPUT]
    return [
        (text_at(one, "uri"), digest)
        for one in found
        if isinstance(digest := one.get("digest"), Mapping) and text_at(one, "uri")
    ]


def dependency_digests(statement: Statement) -> list[Mapping[str, Any]]:
    """Return the digest sets of what a build used, except the inputs that its task named itself.

    Tasks, Pipelines and StepActions are among them. SLSA v0.2 does not tell its materials apart, so all of
    them are returned.
    """
    if statement.predicate_type == SLSA_V02:
        found = objects_at(statement.predicate, "materials")
    else:
        listed = objects_at(statement.predicate, "buildDefinition", "resolvedDependencies")
        found = [item for item in listed if item.get("name") != slsa_names.INPUT]
    return [digest for one in found if isinstance(digest := one.get("digest"), Mapping)]


def _attributes(statement: Statement, *names: Attribute) -> list[Mapping[str, Any]]:
    """Return the attributes of an execution report that have one of these names."""
    listed = objects_at(statement.predicate, "attributes")
    return [attribute for attribute in listed if attribute.get("attribute") in names]


def run_outcome(statement: Statement) -> Mapping[str, Any]:
    """Return the attribute RUN_OUTCOME of an execution report; empty unless there is exactly one."""
    found = _attributes(statement, Attribute.RUN_OUTCOME)
    return found[0] if len(found) == 1 else {}


def hermetic_level(statement: Statement) -> str:
    """Return the level in an execution report, ``""`` unless there is exactly one."""
    return statement.once(_hermetic_level)


def _hermetic_level(statement: Statement) -> str:
    found = _attributes(statement, Attribute.HERMETIC_LEVEL)
    return text_at(found[0], "conditions", "level") if len(found) == 1 else ""
