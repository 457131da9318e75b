"""What a policy demands, in the form that targets share: who may sign, and what no target expresses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from chains.errors import UsageError
from chains.policy.document.format import Consequence, Mode
from chains.policy.document.policy import NamespacesWanted, Policy, Requirements
from chains.policy.engines.generated import Effect, Limit
from chains.policy.engines.re2 import UntranslatableError, whole
from chains.policy.listing import some
from chains.policy.opened import OpenedPolicy, OpenedSigner
from chains.policy.reasons import Requirement
from chains.revocation.entry import Entry
from chains.statements.vsa import FAILED, VSA
from chains.verify.criteria import CertificateWanted
from signers.keys.keyset import KeyStatus, ListedKey
from signers.keys.public_key import PublicKey

Limits = list[Limit]


@dataclass(frozen=True, slots=True)
class OneSigner:
    """One key or one certificate identity, exactly one of the two."""

    key: PublicKey | None = None
    identity: CertificateWanted | None = None


@dataclass(frozen=True, slots=True)
class Voucher:
    """One way in which provenance counts: one signer, and the only builder that it signs for."""

    trust: str
    signer: OneSigner
    builder_id: str


def vouchers(opened: OpenedPolicy, now: datetime, limits: Limits) -> list[Voucher]:
    """Return every pair of signer and builder whose provenance counts, each once.

    Trust entries below the required level are left out: nothing of theirs can pass. What a key's times and
    revocations mean is added to ``limits``. Raises :class:`UsageError` for a list that cannot be used.
    """
    problem = opened.revocations.problem(now)
    if problem:
        raise UsageError(f"policy {opened.policy.name}: {problem}")
    if opened.revocations.is_configured:
        told = "the engine does not read the list: generate again when it changes"
        limits.append(Limit(Effect.WEAKER, "revocations", told))
    found: dict[tuple[OneSigner, str], Voucher] = {}
    for entry, signer in zip(opened.policy.trust, opened.trust, strict=True):
        name = f"trust {entry.name}"
        if entry.max_level < opened.policy.require.level:
            continue
        if _is_revoked(opened.revocations.builder(entry.builder_id, ()), name, limits):
            continue
        for one in single_signers(opened, signer, name, now, limits):
            found.setdefault((one, entry.builder_id), Voucher(entry.name, one, entry.builder_id))
    return list(found.values())


def signers_of_type(
    opened: OpenedPolicy, predicate_type: str, now: datetime, limits: Limits
) -> list[OneSigner]:
    """Return who may sign statements of a predicate type: its own signers, or else all of ``trust``."""
    own = opened.by_type.get(predicate_type)
    named = (
        [(f"signers of {predicate_type}", own)]
        if own is not None
        else [
            (f"trust {entry.name}", signer)
            for entry, signer in zip(opened.policy.trust, opened.trust, strict=True)
        ]
    )
    found: dict[OneSigner, None] = {}
    for name, signer in named:
        found.update(dict.fromkeys(single_signers(opened, signer, name, now, limits)))
    return list(found)


def single_signers(
    opened: OpenedPolicy, signer: OpenedSigner, name: str, now: datetime, limits: Limits
) -> list[OneSigner]:
    """Return the keys that count now and the identity of a signer, one by one, without what is revoked.

    Engines know no times of keys: what that means for each key is added to ``limits``.
    """
    found = []
    for key in signer.criteria.keys:
        listed = signer.criteria.windows.get(key.keyid, ListedKey(key))
        if listed.status is KeyStatus.REVOKED:
            continue
        if _is_revoked(opened.revocations.key(key.keyid, ()), name, limits):
            continue
        problem = listed.problem(now)
        limit = _window_limit(listed, problem, name)
        if limit is not None and limit not in limits:
            limits.append(limit)
        if not problem:
            found.append(OneSigner(key=key))
    wanted = signer.criteria.certificate
    if wanted is not None:
        names = (wanted.identity.value, wanted.issuer.value)
        # an expression is none of the names that it matches: the list may still revoke some of them
        is_exact = not (wanted.identity.is_regexp or wanted.issuer.is_regexp)
        struck = opened.revocations.identity(*names, ()) if is_exact else None
        if not _is_revoked(struck, name, limits):
            found.append(OneSigner(identity=wanted))
    return found


def _is_revoked(entry: Entry | None, name: str, limits: Limits) -> bool:
    """Whether something is revoked; what was in good hands at another time is lost, which is told."""
    if entry is None:
        return False
    if entry.since is not None or entry.until is not None:
        told = f"{entry.name} is revoked and left out; the engine cannot tell older signatures of it"
        limit = Limit(Effect.STRICTER, name, told)
        if limit not in limits:
            limits.append(limit)
    return True


def _window_limit(listed: ListedKey, problem: str, name: str) -> Limit | None:
    keyid = listed.key.keyid
    if problem:
        text = f"key {keyid} is left out: {problem}"
        return Limit(Effect.STRICTER, name, f"{text}; the engine cannot tell older signatures of it")
    times = [
        f"{word} {moment.strftime('%Y-%m-%dT%H:%M:%SZ')}"
        for word, moment in (("from", listed.not_before), ("until", listed.not_after))
        if moment is not None
    ]
    if not times:
        return None
    told = (
        f"key {keyid} counts {' '.join(times)}; the engine takes its signatures of any time: generate again "
        "when it ends"
    )
    return Limit(Effect.WEAKER, name, told)


def identity_of(signer: OneSigner, limits: Limits) -> dict[str, str] | None:
    """Return a certificate's identity as Sigstore's engines compare it, None where it cannot be written.

    Source: cosign 2.5.0, ``pkg/cosign/verify.go``: ``subject`` and ``issuer`` are compared exactly; Go's
    ``regexp`` searches with expressions, without anchors of its own.
    """
    written: dict[str, str] = {}
    if signer.identity is None:
        return None
    for name, wanted in (("subject", signer.identity.identity), ("issuer", signer.identity.issuer)):
        if not wanted.is_regexp:
            written[name] = wanted.value
            continue
        try:
            written[f"{name}RegExp"] = whole(wanted)
        except UntranslatableError as error:
            limit = Limit(Effect.STRICTER, "trust", f"identity {signer.identity} is left out: {error}")
            if limit not in limits:
                limits.append(limit)
            return None
    return written


def label_expressions(wanted: NamespacesWanted) -> list[dict[str, Any]]:
    """Return the conditions on labels of namespaces as Kubernetes' selectors have them."""
    return [
        {
            "key": one.key,
            "operator": one.operator.value,
            **({"values": list(one.values)} if one.values else {}),
        }
        for one in wanted.conditions
    ]


class Time(StrEnum):
    """What vouches for the time in which a certificate signed."""

    TIMESTAMP = "timestamp"
    LOG = "log"


def times_of(require: Requirements) -> Sequence[Time]:
    """Return what may vouch for a certificate's time of signing; any of it will do."""
    if require.timestamp:
        return (Time.TIMESTAMP,)
    return (Time.LOG,) if require.log else (Time.TIMESTAMP, Time.LOG)


def times_expressed(opened: OpenedPolicy) -> frozenset[Requirement]:
    """Return what of ``log`` and ``timestamp`` engines demand: one for a certificate, none for a key."""
    require = opened.policy.require
    if any(signer.criteria.keys for signer in opened.trust) or require.log is require.timestamp:
        return frozenset()
    return frozenset({Requirement.LOG if require.log else Requirement.TIMESTAMP})


VOLUMES = Limit(
    Effect.SETUP,
    "match.images",
    "the engine does not look at image volumes (spec.volumes[].image), and for it sha256:ID, which runs any "
    "image that a node has, is an image of no policy: deny both by another policy",
)
_KYVERNO_CACHE_SECONDS = 3600


def kyverno_cache(policy: Policy) -> Limits:
    """Return what to set so that Kyverno keeps a pass no longer than the policy allows."""
    if policy.cache_seconds >= _KYVERNO_CACHE_SECONDS:
        return []
    flag = f"--imageVerifyCacheTTLDuration={policy.cache_seconds}s"
    flag = flag if policy.cache_seconds else "--imageVerifyCacheEnabled=false"
    return [Limit(Effect.SETUP, "cacheSeconds", f"the engine keeps a pass for an hour: run it with {flag}")]


_TEXTS: Mapping[Requirement, Callable[[Requirements], str]] = {
    Requirement.PREDICATES: lambda wanted: some(wanted.predicates) if wanted.predicates else "",
    Requirement.LEVEL: lambda wanted: f"level {wanted.level}" if wanted.level else "",
    Requirement.BUILD_TYPES: lambda wanted: some(wanted.build_types) if wanted.build_types else "",
    Requirement.SOURCES: lambda wanted: some(map(str, wanted.sources)) if wanted.sources else "",
    Requirement.EXTERNAL_PARAMETERS: lambda wanted: (
        "" if wanted.external_parameters is None else some(wanted.external_parameters) or "none at all"
    ),
    Requirement.HERMETIC: lambda wanted: f"{wanted.hermetic}" if wanted.hermetic else "",
    Requirement.OUTCOME: lambda wanted: f"{wanted.outcome}" if wanted.outcome else "",
    Requirement.NAMESPACES: lambda wanted: some(wanted.namespaces) if wanted.namespaces else "",
    Requirement.MAX_AGE: lambda wanted: f"{wanted.max_age}" if wanted.max_age is not None else "",
    Requirement.LOG: lambda wanted: "a log entry" if wanted.log else "",
    Requirement.TIMESTAMP: lambda wanted: "a timestamp" if wanted.timestamp else "",
    Requirement.STEP_IMAGES: lambda wanted: "images of steps" if _asks_steps(wanted) else "",
    Requirement.TASKS: lambda wanted: "origin of tasks" if wanted.tasks is not None else "",
    Requirement.REJECTED_HINTS: lambda wanted: "no rejected hint" if wanted.no_rejected_hints else "",
    Requirement.EVERY_STORE: lambda wanted: "every store" if wanted.every_store else "",
}


def _asks_steps(wanted: Requirements) -> bool:
    images = wanted.step_images
    return images is not None and bool(images.pinned or images.repositories)


def unexpressed(policy: Policy, expressed: Collection[Requirement], now: datetime) -> Limits:
    """Return a limit for everything that a policy says and that no target, or not this one, expresses.

    ``expressed`` has the requirements that the target does express. Match, mode and signers are its own.
    """
    found = []
    for requirement, describe in _TEXTS.items():
        told = describe(policy.require)
        if told and requirement not in expressed:
            found.append(Limit(Effect.WEAKER, f"require.{requirement}", f"not checked by the engine: {told}"))
    if VSA in policy.require.predicates and Requirement.PREDICATES in expressed:
        told = f"a summary counts for the engine whatever it says, {FAILED} included"
        found.append(Limit(Effect.WEAKER, f"require.{Requirement.PREDICATES}", told))
    found += [
        Limit(Effect.WEAKER, f"rule {rule.name}", "rules in CEL are not translated") for rule in policy.rules
    ]
    for exemption in policy.exemptions:
        if not exemption.is_over(now):
            told = (
                f"{exemption.image.text} until {exemption.to_json()['until']}: the engine knows no end of an "
                f"exemption, and demands {some(exemption.rules)}"
            )
            found.append(Limit(Effect.STRICTER, "exemptions", told))
    found += [
        Limit(Effect.STRICTER, f"accept.vsa {one.name}", "verification summaries do not count for the engine")
        for one in policy.accept
    ]
    return [*found, *_consequences(policy)]


def _consequences(policy: Policy) -> Iterable[Limit]:
    if policy.mode is Mode.ENFORCE:
        for name, value in (("missing", policy.missing), ("unavailable", policy.unavailable)):
            if value is Consequence.WARN:
                yield Limit(Effect.STRICTER, name, "the engine denies, where the policy only warns")
