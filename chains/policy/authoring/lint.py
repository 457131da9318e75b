"""What is likely to be a mistake in a policy that can be used: warnings beside the errors of ``load``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from chains.assembly.revocations import NO_MEMORY
from chains.documents.places import Path as Path_
from chains.errors import InputError, UsageError
from chains.policy.accepted import unstated_by_summaries
from chains.policy.document.format import Consequence, Mode
from chains.policy.document.load import placed, read_policies
from chains.policy.document.policy import Policy, SignerWanted
from chains.policy.document.problem import Finding, Problem, Severity
from chains.policy.opened import OpenedPolicy, open_policy
from chains.policy.reasons import Requirement
from chains.policy.rule_checks import LITERAL
from chains.policy.rules import check_rules
from chains.statements.vsa import VSA

_SUMMARIES = VSA.rpartition("/")[0]
"""Verification summaries of all versions; of those before 1 nothing is read."""
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
    yield from _accepts(policy)
    yield from _demands(policy)
    yield from _gives_way(policy)
    yield from _exempts(policy, now)
    yield from _reads(policy)
    yield from _opens(policy, now)


def _opens(policy: Policy, now: datetime) -> Iterator[Finding]:
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
    keys = [key for _, signer in _signers(policy) for key in signer.keys]
    keys += policy.revocations.keys if policy.revocations else ()
    if all("://" not in key.ref for key in keys):
        try:
            opened = open_policy(policy, state=NO_MEMORY)
        except (UsageError, InputError) as error:
            yield Finding(("spec", "trust" if policy.trust else "accept"), "key", str(error))
            return
        yield from _shares(policy, opened)
        problem = opened.revocations.problem(now)
        if problem:
            told = f"{problem}; with it, every image is undecided"
            yield _warning(("revocations", "list"), "revocation_list_unusable", told)


def _shares(policy: Policy, opened: OpenedPolicy) -> Iterator[Finding]:
    """Give each accepted verifier whose key or identity signs provenance, too."""
    for at, (entry, signer) in enumerate(zip(policy.accept, opened.accept, strict=True)):
        own = {key.keyid for key in signer.criteria.keys}
        for other in opened.trust:
            is_shared = own & {key.keyid for key in other.criteria.keys}
            if is_shared or (signer.wanted.identity and signer.wanted.identity == other.wanted.identity):
                told = f"{entry.name} has a signer of trust: whoever builds could verify its own builds"
                yield _warning(("accept", "vsa", at, "signer"), "vsa_by_builder", told)
                break


def _signers(policy: Policy) -> list[tuple[Path_, SignerWanted]]:
    found: list[tuple[Path_, SignerWanted]] = [
        (("trust", at, "signer"), entry.signer) for at, entry in enumerate(policy.trust)
    ]
    found += [(("accept", "vsa", at, "signer"), entry.signer) for at, entry in enumerate(policy.accept)]
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
    level = max((*(one.max_level for one in policy.trust), *(one.max_level for one in policy.accept)))
    if policy.require.level > level:
        told = f"level {policy.require.level} is demanded and no trusted signer goes beyond {level}"
        yield _warning(("require", "level"), "level_out_of_reach", told)


def _accepts(policy: Policy) -> Iterator[Finding]:
    unstated = unstated_by_summaries(policy)
    for at, entry in enumerate(policy.accept):
        path: Path_ = ("accept", "vsa", at)
        if not entry.policy_digest:
            told = f"{entry.name} counts for every version of {entry.policy_uri}: name its digest"
            yield _warning((*path, "policy"), "vsa_without_policy_digest", told)
        if entry.max_age is None:
            told = f"summaries of {entry.name} count for ever: a summary never expires by itself"
            yield _warning(path, "vsa_without_max_age", told)
        if unstated:
            told = f"no summary meets {', '.join(unstated)}, so that {entry.name} never counts; demand it in "
            yield _warning(path, "vsa_never_counts", told + "the policy that the verifier verifies")


def _demands(policy: Policy) -> Iterator[Finding]:
    require = policy.require
    says_whose = require.namespaces or require.tasks or require.external_parameters is not None
    if policy.trust and not says_whose:
        told = "any task of these builders can claim to have made an image: demand namespaces, tasks or "
        yield _warning(("require",), "any_run", told + "externalParameters")
    if any(one.startswith(_SUMMARIES) for one in require.predicates):
        told = "a summary that says PASSED must exist, whatever its verifier, policy, place and levels: use "
        told += "accept.vsa"
        yield _warning(("require", "predicates"), "vsa_unread", told)
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
        code = LITERAL.sub("''", rule.cel)
        if _OR_TRUE.search(code):
            yield _warning(path, "or_true", "'|| true' is always true, an error included")
        if _ALL.search(code) and not _SIZE.search(code):
            yield _warning(path, "all_of_nothing", "all() is true of an empty list: demand size(…) > 0, too")
