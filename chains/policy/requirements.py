"""The requirements of a policy, each compared with one candidate: pure, from verified evidence to a check.

A requirement that the policy does not make gives no check. What cannot be told, because a store was away or
nobody vouches for a time, is an ``error`` and never a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Protocol

from chains.errors import EvidenceError, UsageError
from chains.policy.candidate import Candidate, VerifiedStatement
from chains.policy.document.patterns import read_image, wildcard_matches
from chains.policy.document.sources import git_sources
from chains.policy.guidance import GUIDANCE
from chains.policy.listing import some, span
from chains.policy.opened import OpenedPolicy
from chains.policy.parameters import difference, parameters_of
from chains.policy.reasons import PolicyReason, Requirement
from chains.policy.verdict import PolicyCheck
from chains.statements.attributes import Attribute
from chains.statements.claims import build_type, hermetic_level, resolved, run_namespace
from chains.statements.statement import SLSA_V02, Statement
from chains.statements.vsa import FAILED, PASSED, VSA, read_vsa
from chains.tekton.raw import text_at
from chains.text import count, excerpt
from chains.verify.reasons import Result

_LONGEST = 10_000
"""Characters of evidence that one line of an answer shows."""
FUTURE = timedelta(minutes=5)
"""How far ahead a verified time may be: two clocks."""
_RFC3161 = "TimestampAuthority"
_STEPS = ("step/", "sidecar/")
_OCI = "oci://"

Found = Iterator[PolicyCheck]


def check_all(candidate: Candidate) -> list[PolicyCheck]:
    """Return a check for each requirement that the policy makes, in the order of :class:`Requirement`."""
    return [check for requirement in _ALL for check in requirement(candidate)]


def _pass(name: Requirement, expected: str, actual: str, attestation: str = "") -> PolicyCheck:
    return PolicyCheck(name, Result.PASS, expected, excerpt(actual, _LONGEST), attestation=attestation)


def _fail(
    name: Requirement, expected: str, actual: str, reason: PolicyReason, attestation: str = ""
) -> PolicyCheck:
    told = excerpt(actual, _LONGEST)
    return PolicyCheck(name, Result.FAIL, expected, told, reason, GUIDANCE[reason], attestation)


class Asked(Protocol):
    """What statements of other types are asked of: an image with all that was verified about it."""

    @property
    def opened(self) -> OpenedPolicy:
        """The policy."""

    @property
    def everything(self) -> Sequence[VerifiedStatement]:
        """All statements that a signer of the policy signed."""

    @property
    def is_whole(self) -> bool:
        """Whether every store answered."""


def _absent(
    candidate: Asked, name: Requirement, expected: str, actual: str, reason: PolicyReason
) -> PolicyCheck:
    """Something is not there: a failure, or an error where it may lie in a store that did not answer."""
    if candidate.is_whole:
        return _fail(name, expected, actual, reason)
    away = PolicyReason.STORE_UNAVAILABLE
    told = f"{actual}, and not every store answered"
    return PolicyCheck(name, Result.ERROR, expected, told, away, GUIDANCE[away])


def _trust(candidate: Candidate) -> Found:
    entries = candidate.opened.policy.trust
    expected = "a signer and builder of " + some(f"trust entry {entry.name}" for entry in entries)
    builder, signer = candidate.builder or "none", candidate.provenance.signed_by.name
    actual = f"builder {builder}, signed by {signer}"
    own = candidate.provenance.digest
    if candidate.entry is not None:
        yield _pass(Requirement.TRUST, expected, f"{actual}: trust entry {candidate.entry.name}", own)
        return
    is_known = any(entry.builder_id == builder for entry in entries)
    reason = PolicyReason.SIGNER_NOT_TRUSTED if is_known else PolicyReason.BUILDER_NOT_TRUSTED
    yield _fail(Requirement.TRUST, expected, actual, reason, own)


def check_predicates(candidate: Asked) -> Found:
    """Give a check for each predicate type of which a verified statement is demanded."""
    policy = candidate.opened.policy
    for wanted in policy.require.predicates:
        own = candidate.opened.by_type.get(wanted)
        fitting = [
            one
            for one in candidate.everything
            if one.statement.predicate_type == wanted
            and (own is None or any(own is signer for signer in one.signers))
        ]
        if own is None:
            fitting = [one for one in fitting if _is_trusted(candidate, one.signers)]
        expected = f"a verified statement of {wanted}" + (f" that says {PASSED}" if wanted == VSA else "")
        counting = [one for one in fitting if wanted != VSA or _is_passed(one.statement)]
        if counting:
            actual = f"signed by {counting[0].signed_by.name}"
            yield _pass(Requirement.PREDICATES, expected, actual, counting[0].digest)
        elif fitting:
            actual = f"{count(len(fitting), 'summary', 'summaries')} that cannot be read, or say {FAILED}"
            reason = PolicyReason.VERIFICATION_FAILED
            yield _absent(candidate, Requirement.PREDICATES, expected, actual, reason)
        else:
            actual = "none by a signer of this type" if own else "none by a trusted signer"
            yield _absent(candidate, Requirement.PREDICATES, expected, actual, PolicyReason.PREDICATE_MISSING)


def _is_passed(statement: Statement) -> bool:
    """Whether a verification summary says that the artifact passed."""
    try:
        return read_vsa(statement).is_passed
    except EvidenceError:
        return False


def _is_trusted(candidate: Asked, signers: Iterable[object]) -> bool:
    return any(signer is other for signer in signers for other in candidate.opened.trust)


def _level(candidate: Candidate) -> Found:
    wanted = candidate.opened.policy.require.level
    if not wanted:
        return
    level = candidate.entry.max_level if candidate.entry else 0
    expected, own = f"SLSA build level {wanted}", candidate.provenance.digest
    actual = f"level {level}" + (f" of trust entry {candidate.entry.name}" if candidate.entry else "")
    if level >= wanted:
        yield _pass(Requirement.LEVEL, expected, actual, own)
    else:
        yield _fail(Requirement.LEVEL, expected, actual, PolicyReason.LEVEL_TOO_LOW, own)


def _build_types(candidate: Candidate) -> Found:
    wanted = candidate.opened.policy.require.build_types
    if not wanted:
        return
    actual, own = build_type(candidate.provenance.statement) or "none", candidate.provenance.digest
    if actual in wanted:
        yield _pass(Requirement.BUILD_TYPES, some(wanted), actual, own)
    else:
        reason = PolicyReason.BUILD_TYPE_NOT_ALLOWED
        yield _fail(Requirement.BUILD_TYPES, some(wanted), actual, reason, own)


def _sources(candidate: Candidate) -> Found:
    wanted = candidate.opened.policy.require.sources
    if not wanted:
        return
    expected, own = some(map(str, wanted)), candidate.provenance.digest
    found = git_sources(candidate.provenance.statement)
    if not found:
        actual = "the provenance names no git source"
        yield _fail(Requirement.SOURCES, expected, actual, PolicyReason.SOURCE_MISSING, own)
        return
    strangers = [
        uri if source is None else str(source)
        for uri, source in found
        if source is None or not any(one.allows(source) for one in wanted)
    ]
    if strangers:
        reason = PolicyReason.SOURCE_NOT_ALLOWED
        yield _fail(Requirement.SOURCES, expected, some(strangers), reason, own)
    else:
        yield _pass(Requirement.SOURCES, expected, some(str(source) for _, source in found), own)


def _external_parameters(candidate: Candidate) -> Found:
    wanted = candidate.opened.policy.require.external_parameters
    if wanted is None:
        return
    expected, own = f"external parameters: {some(wanted)}", candidate.provenance.digest
    provenance = candidate.provenance
    actual = parameters_of(provenance.statement, provenance.attestation.payload)
    if actual is None:
        told = "the provenance has no external parameters"
        reason = PolicyReason.PARAMETER_NOT_ALLOWED
        yield _fail(Requirement.EXTERNAL_PARAMETERS, expected, told, reason, own)
        return
    problem = difference(wanted, actual)
    if problem is None:
        yield _pass(Requirement.EXTERNAL_PARAMETERS, expected, "each is listed and allowed", own)
    else:
        reason, told = problem
        yield _fail(Requirement.EXTERNAL_PARAMETERS, expected, told, reason, own)


def _hermetic(candidate: Candidate) -> Found:
    wanted = candidate.opened.policy.require.hermetic
    if wanted is None:
        return
    expected = f"an execution report of the same run with level {wanted.value}"
    if candidate.report is None:
        yield _no_report(candidate, Requirement.HERMETIC, expected)
        return
    level, own = hermetic_level(candidate.report.statement), candidate.report.digest
    if level == wanted.value:
        yield _pass(Requirement.HERMETIC, expected, f"level {level}", own)
        return
    why = [text_at(one, "conditions", "reason") for one in candidate.attributes(Attribute.HERMETIC_LEVEL)]
    actual = f"level {level or 'missing'}" + (f": {why[0]}" if len(why) == 1 and why[0] else "")
    yield _fail(Requirement.HERMETIC, expected, actual, PolicyReason.HERMETIC_NOT_PROVEN, own)


def _no_report(candidate: Candidate, name: Requirement, expected: str) -> PolicyCheck:
    actual = "no execution report of the provenance's run by its signer"
    return _absent(candidate, name, expected, actual, PolicyReason.NO_EXECUTION_REPORT)


def _outcome(candidate: Candidate) -> Found:
    wanted = candidate.opened.policy.require.outcome
    if wanted is None:
        return
    expected = f"a run that {'has ' if wanted == 'succeeded' else 'is '}{wanted.value}"
    if candidate.report is None:
        yield _no_report(candidate, Requirement.OUTCOME, expected)
        return
    told = [text_at(one, "conditions", "outcome") for one in candidate.attributes(Attribute.RUN_OUTCOME)]
    actual, own = told[0] if len(told) == 1 else "no single outcome", candidate.report.digest
    if actual == wanted.value:
        yield _pass(Requirement.OUTCOME, expected, actual, own)
    else:
        yield _fail(Requirement.OUTCOME, expected, actual, PolicyReason.OUTCOME_NOT_ALLOWED, own)


def _namespaces(candidate: Candidate) -> Found:
    wanted = candidate.opened.policy.require.namespaces
    if not wanted:
        return
    expected = f"a run in namespace {some(wanted)}"
    if candidate.report is None:
        yield _no_report(candidate, Requirement.NAMESPACES, expected)
        return
    actual, own = run_namespace(candidate.report.statement), candidate.report.digest
    if actual and any(wildcard_matches(one, actual) for one in wanted):
        yield _pass(Requirement.NAMESPACES, expected, actual, own)
    else:
        reason = PolicyReason.NAMESPACE_NOT_ALLOWED
        yield _fail(Requirement.NAMESPACES, expected, actual or "no namespace", reason, own)


def _max_age(candidate: Candidate) -> Found:
    longest = candidate.opened.policy.require.max_age
    if longest is None:
        return
    expected, own = f"signed in the last {span(longest)}", candidate.provenance.digest
    moments = candidate.moments
    away = "" if candidate.is_whole else ", and not every store answered"
    if not moments:
        reason = PolicyReason.STORE_UNAVAILABLE if away else PolicyReason.NO_VERIFIED_TIME
        actual = f"no timestamp or log entry says when it was signed{away}"
        yield PolicyCheck(Requirement.MAX_AGE, Result.ERROR, expected, actual, reason, GUIDANCE[reason], own)
        return
    # The earliest time is the one by which the statement was signed. Anybody can ask an authority or log for
    # a later one, and store a copy of the statement with that one alone.
    age = candidate.now - min(moments)
    if age < -FUTURE:
        reason = PolicyReason.NO_VERIFIED_TIME
        actual = f"its verified time is {span(-age)} ahead of this machine's clock"
        yield PolicyCheck(Requirement.MAX_AGE, Result.ERROR, expected, actual, reason, GUIDANCE[reason], own)
    elif age <= longest and away:
        # a store that is away may hold a copy with an earlier time, and others a later one of somebody's
        reason, actual = PolicyReason.STORE_UNAVAILABLE, f"signed {span(max(age, timedelta()))} ago{away}"
        yield PolicyCheck(Requirement.MAX_AGE, Result.ERROR, expected, actual, reason, GUIDANCE[reason], own)
    elif age <= longest and not candidate.is_read:
        # so may what was not read; whoever may add to a repository can list too much
        reason = PolicyReason.EVIDENCE_UNDECIDED
        actual = f"signed {span(max(age, timedelta()))} ago, and not everything about the image could be read"
        yield PolicyCheck(Requirement.MAX_AGE, Result.ERROR, expected, actual, reason, GUIDANCE[reason], own)
    elif age <= longest:
        yield _pass(Requirement.MAX_AGE, expected, f"signed {span(max(age, timedelta()))} ago", own)
    else:
        yield _fail(Requirement.MAX_AGE, expected, f"signed {span(age)} ago", PolicyReason.TOO_OLD, own)


def _log(candidate: Candidate) -> Found:
    if not candidate.opened.policy.require.log:
        return
    entries, own = candidate.provenance.signed_by.entries, candidate.provenance.digest
    expected = "a verified transparency log entry"
    if entries:
        yield _pass(Requirement.LOG, expected, f"log index {entries[0].index} of {entries[0].url}", own)
    else:
        yield _fail(Requirement.LOG, expected, "none", PolicyReason.LOG_MISSING, own)


def _timestamp(candidate: Candidate) -> Found:
    if not candidate.opened.policy.require.timestamp:
        return
    times = [one for one in candidate.provenance.signed_by.times if one.source == _RFC3161]
    expected, own = "a verified RFC 3161 timestamp", candidate.provenance.digest
    if times:
        yield _pass(Requirement.TIMESTAMP, expected, times[0].moment.isoformat(), own)
    else:
        yield _fail(Requirement.TIMESTAMP, expected, "none", PolicyReason.TIMESTAMP_MISSING, own)


def _step_images(candidate: Candidate) -> Found:
    wanted = candidate.opened.policy.require.step_images
    if wanted is None:
        return
    if wanted.repositories:
        yield _step_repositories(candidate)
    if wanted.pinned:
        yield _step_pins(candidate)


def _step_repositories(candidate: Candidate) -> PolicyCheck:
    wanted = candidate.opened.policy.require.step_images
    patterns = wanted.repositories if wanted else ()
    expected = f"step images from {some(pattern.text for pattern in patterns)}"
    own = candidate.provenance.digest
    found = [uri for uri in _dependency_uris(candidate.provenance.statement) if uri.startswith(_OCI)]
    without = [text_at(one, "target", "name") for one in candidate.attributes(Attribute.IMAGE_WITHOUT_DIGEST)]
    if not found or without:
        actual = f"without digest: {some(without)}" if without else "the provenance names no step image"
        return _fail(Requirement.STEP_IMAGES, expected, actual, PolicyReason.STEP_IMAGE_NOT_ALLOWED, own)
    strangers = []
    for uri in found:
        try:
            image = read_image(uri)
        except UsageError:
            strangers.append(uri)
            continue
        if not any(pattern.matches(image) for pattern in patterns):
            strangers.append(uri)
    if strangers:
        reason = PolicyReason.STEP_IMAGE_NOT_ALLOWED
        return _fail(Requirement.STEP_IMAGES, expected, some(strangers), reason, own)
    if candidate.report is None:
        # The report alone names images without a digest. Whoever may delete it could hide them.
        return _no_report(candidate, Requirement.STEP_IMAGES, expected)
    return _pass(Requirement.STEP_IMAGES, expected, count(len(found), "image"), own)


def _step_pins(candidate: Candidate) -> PolicyCheck:
    expected = "every step and sidecar names its image by digest"
    if candidate.report is None:
        return _no_report(candidate, Requirement.STEP_IMAGES, expected)
    own = candidate.report.digest
    wanted = {
        name
        for one in candidate.attributes(Attribute.HERMETIC_EXECUTION)
        if (name := text_at(one, "target", "name")).startswith(_STEPS)
    }
    pinned: dict[str, bool] = {}
    for one in candidate.attributes(Attribute.CONTAINER_FACTS):
        name, conditions = text_at(one, "target", "name"), one.get("conditions")
        if name.startswith(_STEPS):
            is_pinned = isinstance(conditions, Mapping) and conditions.get("imagePinned") is True
            pinned[name] = pinned.get(name, True) and is_pinned
    unknown = sorted(wanted - pinned.keys())
    loose = sorted(name for name, is_pinned in pinned.items() if not is_pinned)
    if not pinned or unknown:
        told = (
            f"the report does not say it of {some(unknown)}" if unknown else "the report names no container"
        )
        return _fail(Requirement.STEP_IMAGES, expected, told, PolicyReason.STEP_IMAGE_NOT_PINNED, own)
    if loose:
        actual = f"by tag: {some(loose)}"
        return _fail(Requirement.STEP_IMAGES, expected, actual, PolicyReason.STEP_IMAGE_NOT_PINNED, own)
    return _pass(Requirement.STEP_IMAGES, expected, count(len(pinned), "container"), own)


def _dependency_uris(statement: Statement) -> list[str]:
    if statement.predicate_type == SLSA_V02:
        listed = statement.predicate.get("materials")
    else:
        definition = statement.predicate.get("buildDefinition")
        listed = definition.get("resolvedDependencies") if isinstance(definition, Mapping) else None
        # what the task calls its inputs is no step image, whatever its URI looks like
        if isinstance(listed, list):
            listed = [one for one in listed if not (isinstance(one, Mapping) and one.get("name"))]
    return [text_at(one, "uri") for one in listed] if isinstance(listed, list) else []


def _tasks(candidate: Candidate) -> Found:
    wanted = candidate.opened.policy.require.tasks
    if wanted is None:
        return
    expected = "tasks and pipeline"
    expected += f" from resolver {some(wanted.resolvers)}" if wanted.resolvers else ""
    expected += " with a digest" if wanted.pinned else ""
    statement, own = candidate.provenance.statement, candidate.provenance.digest
    found = {kind: ref for kind in ("task", "pipeline") if (ref := resolved(statement, kind)) is not None}
    if not found:
        reason = PolicyReason.TASK_RESOLVER_NOT_ALLOWED
        yield _fail(Requirement.TASKS, expected, "no task or pipeline that a resolver brought", reason, own)
        return
    for kind, ref in found.items():
        if wanted.resolvers and ref.resolver not in wanted.resolvers:
            actual, reason = f"{kind} from {ref.resolver}", PolicyReason.TASK_RESOLVER_NOT_ALLOWED
            yield _fail(Requirement.TASKS, expected, actual, reason, own)
            return
        if wanted.pinned and not ref.digest:
            reason = PolicyReason.TASK_NOT_PINNED
            yield _fail(Requirement.TASKS, expected, f"{kind} without digest", reason, own)
            return
    loose = _unpinned_tasks(statement) if wanted.pinned else []
    if loose:
        yield _fail(Requirement.TASKS, expected, some(loose), PolicyReason.TASK_NOT_PINNED, own)
    else:
        yield _pass(Requirement.TASKS, expected, some(map(str, found.values())), own)


def _unpinned_tasks(statement: Statement) -> list[str]:
    """Return the pipeline's tasks without a digest. Their resolvers are not part of the provenance."""
    definition = statement.predicate.get("buildDefinition")
    listed = definition.get("resolvedDependencies") if isinstance(definition, Mapping) else None
    return [
        text_at(one, "uri") or "a task without URI"
        for one in (listed if isinstance(listed, list) else ())
        if isinstance(one, Mapping) and one.get("name") == "pipelineTask" and not one.get("digest")
    ]


def _rejected_hints(candidate: Candidate) -> Found:
    if not candidate.opened.policy.require.no_rejected_hints:
        return
    expected = "no result that looks like an artifact and was rejected"
    if candidate.report is None:
        yield _no_report(candidate, Requirement.REJECTED_HINTS, expected)
        return
    names = [
        text_at(one, "target", "name") or "unnamed" for one in candidate.attributes(Attribute.HINT_REJECTED)
    ]
    own = candidate.report.digest
    if names:
        yield _fail(Requirement.REJECTED_HINTS, expected, some(names), PolicyReason.HINT_REJECTED, own)
    else:
        yield _pass(Requirement.REJECTED_HINTS, expected, "none", own)


def _every_store(candidate: Candidate) -> Found:
    if not candidate.opened.policy.require.every_store:
        return
    places = candidate.places or frozenset()
    expected, own = f"the provenance in {some(candidate.stores)}", candidate.provenance.digest
    lacking = [place for place in range(len(candidate.stores)) if place not in places]
    # a store that answered everything will not turn out to have it
    sure = [place for place in lacking if place not in candidate.away]
    if lacking:
        actual = f"not in {some(candidate.stores[place] for place in sure or lacking)}"
        reason = PolicyReason.STORE_WITHOUT_EVIDENCE
        if sure:
            yield _fail(Requirement.EVERY_STORE, expected, actual, reason)
        else:
            yield _absent(candidate, Requirement.EVERY_STORE, expected, actual, reason)
    else:
        yield _pass(Requirement.EVERY_STORE, expected, f"in {count(len(places), 'store')}", own)


_ALL: Sequence[Callable[[Candidate], Found]] = (
    _trust,
    check_predicates,
    _level,
    _build_types,
    _sources,
    _external_parameters,
    _hermetic,
    _outcome,
    _namespaces,
    _max_age,
    _log,
    _timestamp,
    _step_images,
    _tasks,
    _rejected_hints,
    _every_store,
)
