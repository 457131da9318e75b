"""A commented policy to start from, written from evidence that exists and verified."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from chains.policy.document.load import parse_policies
from chains.policy.document.sources import git_sources
from chains.policy.parameters import ANY
from chains.statements import slsa_v1
from chains.statements.claims import build_type, builder_id, hermetic_level, resolved, run_namespace, run_uid
from chains.statements.statement import SCAI
from chains.verify.criteria import PROVENANCE_TYPES
from chains.verify.verdict import Attestation, Verification
from signers.keys.public_key import PublicKey
from storage.formats.reference import Image

_WIDEST = 0xFFFF
_LONGEST_NAME = 1000
"""Characters of a name of a mapping that is written without a mark."""


def starting_policy(name: str, image: Image, verification: Verification, keys: Sequence[PublicKey]) -> str:
    """Return a policy in YAML that the verified evidence of an image passes, with comments on what to decide.

    ``keys`` are those that the evidence was verified with; only those that signed something are written.
    Raises :class:`ValueError` where nothing was verified, since a policy must not be written from claims, and
    for evidence that names what no policy can hold, such as a builder's id of 5,000 characters.
    """
    used = [one for one in verification.attestations if one.used and one.statement is not None]
    provenance = [one for one in used if one.statement and one.statement.predicate_type in PROVENANCE_TYPES]
    if not provenance:
        raise ValueError("no verified provenance to write a policy from")
    first = provenance[0]
    statement = first.statement
    if statement is None:
        raise TypeError("verified provenance without a statement")
    report = _report(first, used)
    repository = str(image.repository)
    signed = {one.signed_by.keyid for one in provenance if one.signed_by}
    pem = "".join(key.pem.decode() for key in keys if key.keyid in signed)
    sources = [source.uri for _, source in git_sources(statement) if source is not None]
    lines = [
        "# Written from the evidence of one image. Read every line, and decide what it has to demand.",
        "apiVersion: provenance.chains/v1",
        "kind: Policy",
        f"metadata: {{name: {_text(name)}}}",
        "spec:",
        "  match:",
        "    # one more part with *, any number of parts with **",
        f"    images: [{_text(repository)}]",
        "  # audit records, warn says so, enforce denies: begin with audit",
        "  mode: audit",
        "  trust:",
        "  # this signer counts for this builder alone, up to this SLSA build level",
        "  - name: builder",
        "    signer:",
        "      keys:",
        "      - pem: |",
        *(f"          {line}" for line in pem.splitlines()),
        f"    builderId: {_text(builder_id(statement))}",
        "    maxLevel: 2",
        "  require:",
        "    level: 2",
        f"    buildTypes: [{_text(build_type(statement))}]",
        "    # the task itself says what its sources were",
        *_optional("sources", sources),
        *_parameters(statement.predicate, build_type(statement)),
        *_run(report),
        *_tasks(first),
    ]
    written = "\n".join(lines) + "\n"
    problems = parse_policies(written.encode(), "the policy").errors
    if problems:
        raise ValueError(f"its evidence names what a policy cannot hold: {problems[0]}")
    return written


def _report(provenance: Attestation, used: Iterable[Attestation]) -> Attestation | None:
    uid = run_uid(provenance.statement) if provenance.statement else ""
    return next(
        (
            one
            for one in used
            if one.statement
            and one.statement.predicate_type == SCAI
            and uid
            and run_uid(one.statement) == uid
        ),
        None,
    )


def _optional(name: str, values: Sequence[str]) -> list[str]:
    if not values:
        return [f"    # {name}: []"]
    return [f"    {name}: [{', '.join(_text(value) for value in dict.fromkeys(values))}]"]


def _parameters(predicate: object, kind: str) -> list[str]:
    definition = predicate.get("buildDefinition") if isinstance(predicate, dict) else None
    external = definition.get("externalParameters") if isinstance(definition, dict) else None
    if not isinstance(external, dict):
        return []
    told = ["    # a parameter that is not listed fails; any allows every value"]
    told.append("    externalParameters:" if external else "    externalParameters: {}")
    for name, value in external.items():
        repository = value.get("repository") if isinstance(value, dict) else None
        if kind in slsa_v1.BUILD_TYPES and name == "buildConfigSource" and isinstance(repository, str):
            # in a list a text is itself, also the word that allows every value
            only = f"[{_text(repository)}]" if repository == ANY else _text(repository)
            others = [" ".join(_member(other, ANY)) for other in value if other != "repository"]
            told.append(f"      {_text(name)}: {{{', '.join([f'repository: {only}', *others])}}}")
        else:
            told += [f"      {part}" for part in _member(name, ANY)]
    return told


def _member(name: str, value: str) -> list[str]:
    """Return a member of a mapping, in two parts if its name is long: YAML wants a mark before it then."""
    written = _text(name)
    return [f"{written}: {value}"] if len(written) <= _LONGEST_NAME else [f"? {written}", f": {value}"]


def _run(report: Attestation | None) -> list[str]:
    if report is None or report.statement is None:
        return ["    # no execution report was found: hermetic, outcome and namespaces cannot be demanded"]
    namespace, level = run_namespace(report.statement), hermetic_level(report.statement)
    lines = [f"    namespaces: [{_text(namespace)}]"] if namespace else []
    lines.append("    outcome: succeeded")
    lines.append(
        "    hermetic: enforced"
        if level == "enforced"
        else f"    # hermetic: enforced   (now {_text(level)})"
    )
    return lines


def _tasks(provenance: Attestation) -> list[str]:
    statement = provenance.statement
    found = [resolved(statement, kind) for kind in ("task", "pipeline")] if statement else []
    resolvers = [one.resolver for one in found if one is not None]
    if not resolvers:
        return ["    # tasks: {resolvers: [git], pinned: true}   (this run's came from no resolver)"]
    return [f"    tasks: {{resolvers: [{', '.join(map(_text, resolvers))}], pinned: true}}"]


def _text(value: str) -> str:
    """Return a text of the evidence in quotes, which YAML reads as that text and nothing else.

    JSON's quotes are YAML's, except for characters beyond 16 bits: YAML knows no pairs of surrogates.
    """
    written = (f"\\U{ord(char):08x}" if ord(char) > _WIDEST else json.dumps(char)[1:-1] for char in value)
    return f'"{"".join(written)}"'
