"""The fixed member names of statements. No other member may look like one of them, such as ``Subject``.

Names are free in annotations, parameters, environments, digest sets, the configuration of a build, and in
predicates of types that are not read here.
"""

from __future__ import annotations

from collections.abc import Mapping

from chains.statements import slsa_names
from chains.statements.attributes import Attribute
from chains.statements.statement import SCAI, SLSA_V02, SLSA_V1
from chains.statements.vsa import VSA
from signers.strict_json import Shape, check_shape

_DESCRIPTOR: Shape = dict.fromkeys(
    ("name", "uri", "digest", "content", "downloadLocation", "mediaType", "annotations")
)
_STATEMENT: Shape = {"_type": None, "subject": _DESCRIPTOR, "predicateType": None, "predicate": None}
_REFERENCE: Shape = dict.fromkeys(("name", "kind", "apiVersion", "bundle", "resolver", "params"))
_TEKTON: Shape = {
    "buildConfigSource": {"ref": None, "repository": None, "path": None},
    "runSpec": {"taskRef": _REFERENCE, "pipelineRef": _REFERENCE},
}
"""The external parameters of Tekton Chains. Other builders use other names."""
_PROVENANCE: Shape = {
    "buildDefinition": {
        "buildType": None,
        "externalParameters": None,
        "internalParameters": None,
        "resolvedDependencies": _DESCRIPTOR,
    },
    "runDetails": {
        "builder": {"id": None, "version": None, "builderDependencies": _DESCRIPTOR},
        # earlier Go types of in-toto wrote the second name
        "metadata": {"invocationId|invocationID": None, "startedOn": None, "finishedOn": None},
        "byproducts": _DESCRIPTOR,
    },
}
_OLD_PROVENANCE: Shape = {
    "builder": {"id": None},
    "buildType": None,
    "invocation": {
        "configSource": {"uri": None, "digest": None, "entryPoint": None},
        "parameters": None,
        "environment": None,
    },
    "buildConfig": None,
    "metadata": {
        "buildInvocationId|buildInvocationID": None,
        "buildStartedOn": None,
        "buildFinishedOn": None,
        "completeness": {"parameters": None, "environment": None, "materials": None},
        "reproducible": None,
    },
    "materials": {"uri": None, "digest": None},
}
_REPORT: Shape = {
    "attributes": {"attribute": None, "target": _DESCRIPTOR, "conditions": None, "evidence": _DESCRIPTOR},
    "producer": _DESCRIPTOR,
}
_SUMMARY: Shape = {
    "verifier": {"id": None, "version": None},
    "timeVerified": None,
    "resourceUri": None,
    "policy": _DESCRIPTOR,
    "inputAttestations": _DESCRIPTOR,
    "verificationResult": None,
    "verifiedLevels": None,
    "dependencyLevels": None,
    "slsaVersion": None,
}
_PREDICATES = {SLSA_V1: _PROVENANCE, SLSA_V02: _OLD_PROVENANCE, SCAI: _REPORT, VSA: _SUMMARY}
_CONDITIONS: Mapping[str, Shape] = {
    Attribute.RUN_OUTCOME: {"uid": None, "outcome": None},
    Attribute.HERMETIC_LEVEL: {"level": None, "reason": None},
}
"""The members of attributes that verification reads."""
SIMPLE_SIGNING: Shape = {
    "critical": {"identity": None, "image": {"docker-manifest-digest": None}, "type": None},
    "optional": None,
}


def check_statement_names(members: Mapping[str, object]) -> None:
    """Raise :class:`signers.errors.FormatError` for a member that looks like a fixed name and is not it."""
    check_shape(members, _STATEMENT, "statement")
    kind, predicate = members.get("predicateType"), members.get("predicate")
    shape = _PREDICATES.get(kind) if isinstance(kind, str) else None
    if shape is None or not isinstance(predicate, dict):
        return
    check_shape(predicate, shape, "statement: predicate")
    definition = predicate.get("buildDefinition")
    if isinstance(definition, dict) and definition.get("buildType") in slsa_names.BUILD_TYPES:
        check_shape(definition.get("externalParameters"), _TEKTON, "statement: externalParameters")
    attributes = predicate.get("attributes")
    for attribute in attributes if isinstance(attributes, list) else ():
        name = attribute.get("attribute") if isinstance(attribute, dict) else None
        if isinstance(name, str) and name in _CONDITIONS:
            check_shape(attribute.get("conditions"), _CONDITIONS[name], f"statement: {name}")
