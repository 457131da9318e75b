"""Policy files become policies: every problem of a file is found at once, with its line and column."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from chains.documents.load import read_bytes
from chains.documents.places import Path as ValuePath
from chains.documents.places import PlacedDocument, load_placed
from chains.documents.regexps import regexp_problem
from chains.errors import InputError, UsageError
from chains.policy.document.files import files_of, policy_files, says_policy
from chains.policy.document.format import DOCUMENT, LARGEST, Consequence, Mode
from chains.policy.document.patterns import ImagePattern
from chains.policy.document.policy import (
    AcceptedVerifier,
    Exemption,
    KeyWanted,
    LabelCondition,
    NamespacesWanted,
    Policy,
    Requirements,
    RevocationsWanted,
    Rule,
    SignerWanted,
    StepImagesWanted,
    TasksWanted,
    TrustEntry,
)
from chains.policy.document.problem import Finding, Problem, ProblemsError, Report, Severity, dotted
from chains.policy.document.shapes import WRONG
from chains.policy.document.sources import SourceAllowed
from chains.policy.reasons import REVOCATIONS, Requirement
from chains.statements.repositories import canonical
from chains.verify.criteria import CertificateWanted, NameWanted

T = TypeVar("T")

_TEXT = "text.yaml"
"""How problems name a text without a file. JSON is YAML, too."""


class PolicyError(ProblemsError):
    """A policy cannot be used."""


@dataclass(frozen=True, slots=True)
class Read:
    """What a file or folder holds: the policies that can be used with their documents, and every problem."""

    policies: tuple[Policy, ...]
    documents: tuple[PlacedDocument, ...]
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep a policy from being used."""
        return tuple(one for one in self.problems if one.severity is Severity.ERROR)


def load_policies(path: Path) -> tuple[Policy, ...]:
    """Return the policies of a file, or of all ``.yaml``, ``.yml`` and ``.json`` files of a folder.

    Raises :class:`PolicyError` with every problem when one of them cannot be used, and
    :class:`InputError` where a file cannot be read.
    """
    read = read_policies(path)
    if read.errors:
        raise PolicyError(read.errors)
    return read.policies


def read_policies(path: Path) -> Read:
    """Return what a file or folder of policies holds; raises :class:`InputError` for what cannot be read.

    In a folder, a file that a policy names, such as its trusted root, is no policy, unless it says it is one.
    """
    found: dict[Path, Read | InputError] = {}
    for file in policy_files(path):
        try:
            found[file] = parse_policies(read_bytes(file, LARGEST), str(file), str(file.parent))
        except InputError as error:
            found[file] = error
    parsed = [one for one in found.values() if isinstance(one, Read)]
    named = {file for one in parsed for policy in one.policies for file in files_of(policy)}
    read = []
    for file, one in found.items():
        if file in named and path.is_dir() and not says_policy(file):
            continue
        if isinstance(one, InputError):
            raise one
        read.append(one)
    return _joined(read)


def load_text(data: bytes, folder: str = "") -> tuple[Policy, ...]:
    """Return the policies of a text, as :func:`load_policies` does; relative files are in ``folder``."""
    read = _joined([parse_policies(data, _TEXT, folder)])
    if read.errors:
        raise PolicyError(read.errors)
    return read.policies


def _joined(read: Sequence[Read]) -> Read:
    """Return all policies together, with a problem for each name that comes twice."""
    policies = [policy for one in read for policy in one.policies]
    documents = tuple(document for one in read for document in one.documents)
    problems = [problem for one in read for problem in one.problems]
    seen: dict[str, Policy] = {}
    for policy in policies:
        first = seen.setdefault(policy.name, policy)
        if first is not policy:
            message = f"policy {policy.name!r} is defined twice, the first time in {first.file}"
            problems.append(Problem(Severity.ERROR, "name_twice", message, policy.file))
    return Read(tuple(policies), documents, tuple(problems))


def parse_policies(data: bytes, name: str, folder: str = "") -> Read:
    """Read the policies of one file's bytes. Raises :class:`InputError` for what is neither YAML nor JSON."""
    documents = [one for one in load_placed(data, name) if one.value is not None]
    if not documents:
        raise InputError(f"{name}: no policy: expected a document with kind: Policy")
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    policies, used, problems = [], [], []
    for document in documents:
        findings: list[Finding] = []
        policy = _build(document.value, findings.append, digest=digest, file=name, folder=folder)
        problems += [placed(finding, document, name) for finding in findings]
        if policy is not None:
            policies.append(policy)
            used.append(document)
    return Read(tuple(policies), tuple(used), tuple(problems))


def placed(finding: Finding, document: PlacedDocument, name: str) -> Problem:
    """Return a finding with its place in the file of that name."""
    line, column = document.place(finding.path)
    where = dotted(finding.path)
    message = f"{where}: {finding.message}" if where else finding.message
    return Problem(finding.severity, finding.code, message, name, line, column, where)


def _build(value: object, report: Report, *, digest: str, file: str, folder: str) -> Policy | None:
    """Return the policy of one document, or None after reports."""
    read = DOCUMENT.read(value, (), report)
    if read is WRONG:
        return None
    spec, failed = read["spec"], _Failed(report)
    path: ValuePath = ("spec",)
    match = spec["match"]
    images = failed.each(match["images"], (*path, "match", "images"), ImagePattern.parse, "pattern")
    trust = tuple(
        TrustEntry(
            entry["name"],
            _signer(entry["signer"], (*path, "trust", at, "signer"), failed),
            entry["builderId"],
            entry["maxLevel"],
        )
        for at, entry in enumerate(spec.get("trust", ()))
    )
    _refuse_twice([entry.name for entry in trust], (*path, "trust"), failed)
    accept = _accepted(spec.get("accept", {}).get("vsa", ()), (*path, "accept", "vsa"), failed)
    names = [entry.name for entry in accept]
    _refuse_twice(names, (*path, "accept", "vsa"), failed, reserved=[one.name for one in trust])
    signers: dict[str, SignerWanted] = {}
    for at, entry in enumerate(spec.get("signers", ())):
        place = (*path, "signers", at)
        if entry["predicateType"] in signers:
            failed(place, "twice", f"{entry['predicateType']} comes twice: list all its signers once")
        signers[entry["predicateType"]] = _signer(entry, place, failed)
    rules = tuple(
        Rule(rule["name"], rule["cel"], rule["message"], rule.get("guidance", ""))
        for rule in spec.get("rules", ())
    )
    _refuse_twice(
        [rule.name for rule in rules], (*path, "rules"), failed, reserved=(*Requirement, REVOCATIONS)
    )
    exemptions = _exemptions(spec.get("exemptions", ()), (*path, "exemptions"), rules, failed)
    require = _requirements(spec.get("require", {}), (*path, "require"), failed)
    _check_root(spec, (*trust, *accept), signers, require, failed)
    revocations = _revocations(spec.get("revocations"), (*path, "revocations"), failed)
    if failed.is_any:
        return None
    return Policy(
        name=read["metadata"]["name"],
        images=images,
        trust=trust,
        require=require,
        namespaces=_namespaces(match.get("namespaces")),
        mode=spec.get("mode", Mode.ENFORCE),
        missing=spec.get("missing", Consequence.DENY),
        unavailable=spec.get("unavailable", Consequence.DENY),
        cache_seconds=spec.get("cacheSeconds", 300),
        trusted_root=spec.get("trustedRoot", ""),
        signers=signers,
        revocations=revocations,
        rules=rules,
        exemptions=exemptions,
        accept=accept,
        digest=digest,
        file=file,
        folder=folder,
    )


class _Failed:
    """Reports what is wrong beyond shapes, and remembers that something was."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.is_any = False

    def __call__(self, path: ValuePath, code: str, message: str) -> None:
        self.is_any = True
        self._report(Finding(path, code, message))

    def each(
        self, texts: Sequence[str], path: ValuePath, read: Callable[[str], T], code: str
    ) -> tuple[T, ...]:
        """Return what ``read`` makes of each text; a text that it refuses is reported."""
        found = []
        for at, text in enumerate(texts):
            try:
                found.append(read(text))
            except UsageError as error:
                self((*path, at), code, f"{text!r}: {error}")
        return tuple(found)


def _refuse_twice(
    names: Sequence[str], path: ValuePath, failed: _Failed, reserved: Sequence[str] = ()
) -> None:
    for at, name in enumerate(names):
        if name in names[:at]:
            failed((*path, at, "name"), "name_twice", f"the name {name!r} comes twice")
        if name in reserved:
            taken = f"{name!r} is the name of a requirement, or of a trust entry"
            failed((*path, at, "name"), "name_taken", taken)


def _accepted(
    values: Sequence[Mapping[str, Any]], path: ValuePath, failed: _Failed
) -> tuple[AcceptedVerifier, ...]:
    return tuple(
        AcceptedVerifier(
            value["name"],
            _signer(value["signer"], (*path, at, "signer"), failed),
            value["verifierId"],
            value["policy"]["uri"],
            value["maxLevel"],
            value["policy"].get("digest", ""),
            value.get("maxAge"),
            value.get("verifiedLevels", ()),
        )
        for at, value in enumerate(values)
    )


def _signer(value: Mapping[str, Any], path: ValuePath, failed: _Failed) -> SignerWanted:
    keys = []
    for at, key in enumerate(value.get("keys", ())):
        begin, end = key.get("from"), key.get("until")
        if begin is not None and end is not None and begin >= end:
            failed((*path, "keys", at, "until"), "window", "until is not after from: the key never counts")
        keys.append(KeyWanted(key.get("pem", ""), key.get("ref", ""), begin, end))
    identity = _identity(value["identity"], (*path, "identity"), failed) if "identity" in value else None
    if not keys and identity is None:
        failed(path, "nobody", "nobody may sign: name keys, or an identity with its issuer")
    return SignerWanted(tuple(keys), identity)


def _revocations(
    value: Mapping[str, Any] | None, path: ValuePath, failed: _Failed
) -> RevocationsWanted | None:
    if value is None:
        return None
    return RevocationsWanted(value["list"], _signer(value, path, failed).keys, value.get("minVersion", 0))


def _identity(value: Mapping[str, str], path: ValuePath, failed: _Failed) -> CertificateWanted | None:
    names = []
    for exact, regexp in (("san", "sanRegexp"), ("issuer", "issuerRegexp")):
        if (exact in value) == (regexp in value):
            failed(path, "identity", f"an identity needs one of {exact} and {regexp}")
        elif exact in value:
            names.append(NameWanted(value[exact]))
        elif problem := regexp_problem(value[regexp]):
            failed((*path, regexp), "regexp", problem)
        else:
            names.append(NameWanted(value[regexp], is_regexp=True))
    return CertificateWanted(*names) if len(names) == 2 else None  # noqa: PLR2004 - the identity and its issuer


def _namespaces(value: Mapping[str, Any] | None) -> NamespacesWanted | None:
    if value is None:
        return None
    conditions = tuple(
        LabelCondition(one["key"], one["operator"], one.get("values", ()))
        for one in value.get("matchExpressions", ())
    )
    return NamespacesWanted(value.get("names", ()), value.get("matchLabels", {}), conditions)


def _requirements(value: Mapping[str, Any], path: ValuePath, failed: _Failed) -> Requirements:
    images, tasks = value.get("stepImages"), value.get("tasks")
    repositories = (*path, "stepImages", "repositories")
    if value.get("rejectedHints") is True:
        failed((*path, "rejectedHints"), "wrong_value", "only false can be demanded: no rejected hints")
    return Requirements(
        predicates=value.get("predicates", ()),
        level=value.get("level", 0),
        build_types=value.get("buildTypes", ()),
        sources=tuple(
            source
            for at, one in enumerate(value.get("sources", ()))
            if (source := _source(one, (*path, "sources", at), failed)) is not None
        ),
        external_parameters=value.get("externalParameters"),
        hermetic=value.get("hermetic"),
        outcome=value.get("outcome"),
        namespaces=value.get("namespaces", ()),
        max_age=value.get("maxAge"),
        log=value.get("log", False),
        timestamp=value.get("timestamp", False),
        step_images=None
        if images is None
        else StepImagesWanted(
            images.get("pinned", False),
            failed.each(images.get("repositories", ()), repositories, ImagePattern.parse, "pattern"),
        ),
        tasks=None if tasks is None else TasksWanted(tasks.get("resolvers", ()), tasks.get("pinned", False)),
        no_rejected_hints=value.get("rejectedHints") is False,
        every_store=value.get("everyStore", False),
    )


def _source(value: Mapping[str, Any], path: ValuePath, failed: _Failed) -> SourceAllowed | None:
    found = canonical(value["uri"])
    if found is None or found.ref:
        failed(
            path, "source", f"{value['uri']!r} is no repository: expected git+https://HOST/PATH, refs apart"
        )
        return None
    return SourceAllowed(found.uri, value.get("refs", ()))


def _exemptions(
    values: Sequence[Mapping[str, Any]], path: ValuePath, rules: Sequence[Rule], failed: _Failed
) -> tuple[Exemption, ...]:
    known = {*(rule.name for rule in rules), *Requirement}
    found = []
    for at, value in enumerate(values):
        for place, name in enumerate(value["rules"]):
            if name == Requirement.VSA:
                message = "a summary that does not count is never exempt: exempt what it had to show"
                failed((*path, at, "rules", place), "exemption", message)
            elif name not in known:
                known_names = ", ".join(sorted(map(str, known)))
                unknown = f"no requirement or rule {name!r}: known are {known_names}"
                failed((*path, at, "rules", place), "unknown_rule", unknown)
        for image in failed.each([value["image"]], (*path, at), ImagePattern.parse, "pattern"):
            if Requirement.EVIDENCE in value["rules"] and not image.digest:
                message = "only an image by digest can be exempt from evidence: add @sha256:HEX"
                failed((*path, at, "image"), "exemption", message)
            build = partial(Exemption, image, value["rules"], value["until"])
            found.append(build(value["reason"], value["reference"]))
    return tuple(found)


def _check_root(
    spec: Mapping[str, Any],
    entries: Sequence[TrustEntry | AcceptedVerifier],
    signers: Mapping[str, SignerWanted],
    require: Requirements,
    failed: _Failed,
) -> None:
    identities = [entry.signer.identity for entry in entries] + [one.identity for one in signers.values()]
    ages = [require.max_age, *(one.max_age for one in entries if isinstance(one, AcceptedVerifier))]
    asks = any(identities) or require.log or require.timestamp or any(age is not None for age in ages)
    if asks and "trustedRoot" not in spec:
        message = "trustedRoot is missing: identities, log entries, timestamps and ages are verified with it"
        failed(("spec",), "no_trusted_root", message)
