"""What is likely to be a mistake in a policy that can be used: warnings beside the errors of ``load``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from chains.documents.places import Path as Path_
from chains.errors import InputError, UsageError
from chains.policy.document.format import Consequence, Mode
from chains.policy.document.load import placed, read_policies
from chains.policy.document.policy import Policy, SignerWanted
from chains.policy.document.problem import Finding, Problem, Severity
from chains.policy.opened import open_policy
from chains.policy.reasons import Requirement
from chains.policy.rules import check_rules

_LITERAL = re.compile(
    r"""r?'''.*?'''|r?\"\"\".*?\"\"\"|r?'(?:\\.|[^'\\])*'|r?"(?:\\.|[^"\\])*\"""", re.DOTALL
)
_OR_TRUE = re.compile(r"\|\|\s*true\b|\btrue\s*\|\|")
_ALL = re.compile(r"\.\s*all\s*\(")
_SIZE = re.compile(r"\bsize\s*\(|\.\s*exists(?:_one)?\s*\(")
_DOT = re.compile(r"(?<!\\)\.(?![*+?{])")
_REGISTRY = re.compile(r"[*.:]|^localhost$")


def lint_policies(path: Path, now: datetime) -> tuple[Problem, ...]:
    """Return every problem of a file or folder of policies, errors and warnings, in the order of the files.

    Raises :class:`InputError` for a file that cannot be read.
    """
    read = read_policies(path)
    problems = list(read.problems)
    for policy, document in zip(read.policies, read.documents, strict=True):
        problems += [placed(finding, document, policy.file) for finding in _lint(policy, now)]
    return tuple(sorted(problems, key=lambda one: (one.file, one.line, one.column, one.severity)))


def has_errors(problems: Sequence[Problem]) -> bool:
    """Whether one of the problems keeps a policy from being used."""
    return any(problem.severity is Severity.ERROR for problem in problems)


def _warning(path: Path_, code: str, message: str) -> Finding:
    return Finding(("spec", *path), code, message, Severity.WARNING)


def _lint(policy: Policy, now: datetime) -> Iterator[Finding]:
    yield from _matches(policy)
    yield from _trusts(policy)
    yield from _demands(policy)
    yield from _gives_way(policy)
    yield from _exempts(policy, now)
    yield from _reads(policy)
    yield from _opens(policy)


def _opens(policy: Policy) -> Iterator[Finding]:
    """Give what keeps a policy from being opened here: rules that do not compile, keys that cannot be read.

    Keys of services are left out: lint works without a network.
    """
    if policy.rules:
        try:
            _, wrong = check_rules(policy)
        except UsageError as error:
            yield _warning(("rules",), "rules_not_checked", str(error))
            return
        places = {rule.name: at for at, rule in enumerate(policy.rules)}
        for rule, why in wrong:
            yield Finding(("spec", "rules", places[rule.name], "cel"), "rule", f"rule {rule.name}: {why}")
        if wrong:
            return
    if all("://" not in key.ref for _, signer in _signers(policy) for key in signer.keys):
        try:
            open_policy(policy)
        except (UsageError, InputError) as error:
            yield Finding(("spec", "trust"), "key", str(error))


def _signers(policy: Policy) -> list[tuple[Path_, SignerWanted]]:
    found: list[tuple[Path_, SignerWanted]] = [
        (("trust", at, "signer"), entry.signer) for at, entry in enumerate(policy.trust)
    ]
    return found + [(("signers", at), signer) for at, signer in enumerate(policy.signers.values())]


def _matches(policy: Policy) -> Iterator[Finding]:
    for at, pattern in enumerate(policy.images):
        path: Path_ = ("match", "images", at)
        head = pattern.text.partition("/")[0]
        if pattern.text in {"**", "*/**"}:
            yield _warning(path, "matches_all", f"{pattern.text!r} is for every image of every registry")
        elif _REGISTRY.search(head) is None:
            told = f"{pattern.text!r} matches nothing: {head!r} is no registry; write REGISTRY/{pattern.text}"
            yield _warning(path, "never_matches", told)
        elif "*" in head:
            yield _warning(path, "any_registry", f"{pattern.text!r} fits registries of strangers, too")


def _trusts(policy: Policy) -> Iterator[Finding]:
    for at, entry in enumerate(policy.trust):
        for other in policy.trust[:at]:
            if (other.builder_id, other.signer) == (entry.builder_id, entry.signer):
                told = f"{entry.name} has the signer and builder of trust entry {other.name}"
                yield _warning(("trust", at), "trust_twice", told)
    for path, signer in _signers(policy):
        identity = signer.identity
        for wanted in (identity.identity, identity.issuer) if identity else ():
            if wanted.is_regexp and _DOT.search(wanted.value):
                told = f"in {wanted.value!r} a dot stands for any character: write \\."
                yield _warning((*path, "identity"), "unescaped_dot", told)
    level = max((entry.max_level for entry in policy.trust), default=0)
    if policy.require.level > level:
        told = f"level {policy.require.level} is demanded and no trust entry goes beyond {level}"
        yield _warning(("require", "level"), "level_out_of_reach", told)


def _demands(policy: Policy) -> Iterator[Finding]:
    require = policy.require
    if not require.namespaces and require.tasks is None and require.external_parameters is None:
        told = "any task of these builders can claim to have made an image: demand namespaces, tasks or "
        yield _warning(("require",), "any_run", told + "externalParameters")
    if require.max_age is not None and not (require.timestamp or require.log):
        told = "without timestamp or log it is undecided where nobody vouches for a time"
        yield _warning(("require", "maxAge"), "age_without_time", told)


def _gives_way(policy: Policy) -> Iterator[Finding]:
    if policy.mode is not Mode.ENFORCE:
        return
    if policy.missing is Consequence.WARN:
        yield _warning(("missing",), "missing_warns", "lets images without any evidence run")
    if policy.unavailable is Consequence.WARN:
        yield _warning(("unavailable",), "unavailable_warns", "lets images run while a store is away")


def _exempts(policy: Policy, now: datetime) -> Iterator[Finding]:
    for at, exemption in enumerate(policy.exemptions):
        path: Path_ = ("exemptions", at)
        if exemption.is_over(now):
            told = f"ended at {exemption.until:%Y-%m-%dT%H:%M:%SZ} and counts for nothing: remove it"
            yield _warning((*path, "until"), "exemption_expired", told)
        if Requirement.TRUST in exemption.rules and not exemption.image.digest:
            told = "lets any builder of a trusted signer make these images"
            yield _warning((*path, "rules"), "exempt_from_trust", told)
        if _REGISTRY.search(exemption.image.text.partition("/")[0]) is None:
            told = f"{exemption.image.text!r} matches nothing: it begins with no registry"
            yield _warning((*path, "image"), "never_matches", told)


def _reads(policy: Policy) -> Iterator[Finding]:
    for at, rule in enumerate(policy.rules):
        path: Path_ = ("rules", at, "cel")
        code = _LITERAL.sub("''", rule.cel)
        if _OR_TRUE.search(code):
            yield _warning(path, "or_true", "'|| true' is always true, an error included")
        if _ALL.search(code) and not _SIZE.search(code):
            yield _warning(path, "all_of_nothing", "all() is true of an empty list: demand size(…) > 0, too")
