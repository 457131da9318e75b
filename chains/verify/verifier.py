"""Evidence, stores and criteria in; one verdict with all its checks out.

VERIFIED is said only when a key of the criteria signed at least one statement that passed every check asked
of it. Everything else is FAILED, NOT_FOUND or INDETERMINATE and says why; bad evidence never raises.
``docs/verify.md`` tells verdicts, reasons and the decisions behind them. The rules for one piece of evidence
are in ``evidence``, those for runs in ``run``, the verdict in ``conclude``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from chains.errors import InputError, UsageError
from chains.tekton.run_files import Intake
from chains.tekton.snapshot import RunSnapshot, origin_of
from chains.verify.conclude import Case, conclude, undecided
from chains.verify.criteria import Criteria
from chains.verify.reasons import Reason, Result
from chains.verify.run import RunWanted
from chains.verify.search import Query, Search, searched
from chains.verify.subject import BlobWanted, DigestWanted, NothingWanted, Wanted
from chains.verify.targets import (
    DigestTarget,
    FileTarget,
    ParsedTarget,
    TagResolver,
    TagTarget,
    parse_digest,
    parse_target,
)
from chains.verify.verdict import Check, Target, Verification
from storage.base import Store
from storage.errors import StoreError, StoreRejected
from storage.formats.reference import parse_image
from storage.record import Evidence

__all__ = [
    "Criteria",
    "Verification",
    "verify_bundle_file",
    "verify_digest",
    "verify_parsed",
    "verify_run",
    "verify_target",
    "verify_targets",
]

AT_ONCE = 8
"""Targets in work at the same time."""


async def verify_digest(
    digest: str,
    reference: str = "",
    *,
    stores: Sequence[Store],
    criteria: Criteria,
    now: datetime,
    ref: str = "",
) -> Verification:
    """Verify what the stores have about one subject, ``algorithm:hex``.

    ``reference`` is its repository, for stores that need one; ``ref`` what the user calls it. Raises
    :class:`UsageError` for a malformed digest.
    """
    algorithm, _, value = parse_digest(digest).partition(":")
    wanted = DigestWanted({algorithm: value})
    target = Target(ref or digest, wanted.digest)
    async with searched(stores, [Query(f"{algorithm}:{value}", reference)]) as found:  # step 1
        return conclude(Case(target, wanted, criteria, _urls(stores), now, found))


async def verify_run(
    run: RunSnapshot, *, stores: Sequence[Store], criteria: Criteria, now: datetime
) -> Verification:
    """Verify that what was signed about a run is what its record says, and that the record was not changed.

    Evidence is looked for by the digests of the run's artifacts, by the snapshot's and by the run's UID.
    """
    target = Target(run.label, {"sha256": run.digest}, run.uid)
    wanted = RunWanted(run)
    try:
        queries = _queries(wanted)
    except Exception as error:  # noqa: BLE001 - a run that breaks a format must hurt no other target
        actual = f"unexpected {type(error).__name__}: {error}; please report it"
        check = Check("target", Result.ERROR, "a run that can be described", actual, Reason.INTERNAL_ERROR)
        return undecided(target, check, criteria, _urls(stores), now)
    async with searched(stores, queries, run.uid) as found:  # step 1
        return conclude(Case(target, wanted, criteria, _urls(stores), now, found))


def verify_bundle_file(
    data: bytes,
    *,
    ref: str,
    criteria: Criteria,
    now: datetime,
    digest: str = "",
    form: str = "bundle",
    blob: bytes | None = None,
) -> Verification:
    """Verify one bundle (``form`` ``bundle``) or envelope (``dsse``) without any store.

    ``blob`` is the file that it must be about: a subject of its statement, or what a message signature is
    over. ``digest`` names a subject without the file. Without both VERIFIED means: a given key signed this
    statement. What the statement is about is told and was compared with nothing. Raises :class:`UsageError`
    for a malformed digest.
    """
    wanted: Wanted = NothingWanted()
    target = Target(ref)
    if blob is not None:
        wanted = BlobWanted.of(blob)
        target = Target(ref, {"sha256": wanted.digest["sha256"]})
    elif digest:
        algorithm, _, value = parse_digest(digest).partition(":")
        wanted = DigestWanted({algorithm: value})
        target = Target(ref, wanted.digest)
    own = "sha256:" + hashlib.sha256(data).hexdigest()
    evidence = Evidence("file", ref, own, form, data)
    return conclude(Case(target, wanted, criteria, (), now, Search((evidence,)), is_alone=True))


async def verify_target(
    target: str,
    *,
    stores: Sequence[Store],
    criteria: Criteria,
    now: datetime,
    resolve: bool = False,
    resolver: TagResolver | None = None,
    digest: str = "",
    run: str = "",
) -> Verification:
    """Verify one target: an image with digest, a digest, a run file or a bundle file.

    ``digest`` is the artifact that a bundle file must speak for, ``run`` (``NAMESPACE/NAME``) picks one run
    of a file that holds several. Raises :class:`UsageError` for a target that cannot be meant, a tag without
    ``resolve`` among them.
    """
    options = _Options(stores, criteria, now, resolver, digest, run)
    parsed = parse_target(target, resolve=resolve)
    _check_usage(parsed, options)
    found = await _verify(parsed, options)
    if len(found) != 1:
        names = ", ".join(each.target.ref for each in found[:10])
        raise UsageError(f"{target} holds {len(found)} runs; name one of them as NAMESPACE/NAME: {names}")
    return found[0]


async def verify_targets(
    targets: Sequence[str],
    *,
    stores: Sequence[Store],
    criteria: Criteria,
    now: datetime,
    resolve: bool = False,
    resolver: TagResolver | None = None,
    digest: str = "",
    blob: bytes | None = None,
) -> list[Verification]:
    """Verify several targets, in their order; a file with several runs gives one answer for each.

    ``blob`` is the file that bundle files must be about; see :func:`verify_bundle_file`.
    Raises :class:`UsageError`, before anything is verified, when one of them cannot be meant.
    """
    parsed = [(parse_target(target, resolve=resolve), stores) for target in targets]
    return await verify_parsed(
        parsed, criteria=criteria, now=now, resolver=resolver, digest=digest, blob=blob
    )


async def verify_parsed(
    targets: Sequence[tuple[ParsedTarget, Sequence[Store]]],
    *,
    criteria: Criteria,
    now: datetime,
    resolver: TagResolver | None = None,
    digest: str = "",
    blob: bytes | None = None,
) -> list[Verification]:
    """As :func:`verify_targets`, each target with the stores to look in."""
    asked = [
        (target, _Options(stores, criteria, now, resolver, digest, blob=blob)) for target, stores in targets
    ]
    for target, options in asked:
        _check_usage(target, options)
    places = asyncio.Semaphore(AT_ONCE)

    async def guarded(target: ParsedTarget, options: _Options) -> list[Verification]:
        async with places:
            return await _verify(target, options)

    answers = await asyncio.gather(*(guarded(*each) for each in asked))
    return [verification for answer in answers for verification in answer]


@dataclass(frozen=True, slots=True)
class _Options:
    stores: Sequence[Store]
    criteria: Criteria
    now: datetime
    resolver: TagResolver | None = None
    digest: str = ""
    run: str = ""
    blob: bytes | None = field(default=None, repr=False)

    def undecided(self, ref: str, expected: str, actual: str, reason: Reason) -> Verification:
        """Return the answer to a target that could not even be looked for."""
        check = Check("target", Result.ERROR, expected, actual, reason)
        return undecided(Target(ref), check, self.criteria, _urls(self.stores), self.now)


def _check_usage(target: ParsedTarget, options: _Options) -> None:
    is_bundle = isinstance(target, FileTarget) and target.kind != "run"
    if options.digest and not is_bundle:
        raise UsageError(
            f"{target.ref} is no bundle file: a digest to compare with belongs to bundle files alone"
        )
    if options.blob is not None and not is_bundle:
        raise UsageError(f"{target.ref} is no bundle file: --blob names the file that a bundle is about")
    is_run = isinstance(target, FileTarget) and not is_bundle
    if options.criteria.require_hermetic and not is_run and not options.criteria.says_whose_run:
        raise UsageError(
            f"{target.ref}: --require hermetic needs to know whose run: any task can say that it made this "
            "artifact. Add --namespace NAME, --task-ref or --pipeline-ref RESOLVER@DIGEST, --source URI or "
            "--builder-id URI"
        )
    if not is_bundle and not options.stores:
        raise UsageError(f"no store to look for evidence about {target.ref}: pass --store URL")
    if isinstance(target, TagTarget) and options.resolver is None:
        raise UsageError(f"{target.ref} names a tag and nothing here can resolve it: give the image's digest")
    if options.digest:
        parse_digest(options.digest)


async def _verify(target: ParsedTarget, options: _Options) -> list[Verification]:
    criteria, stores, now = options.criteria, options.stores, options.now
    if isinstance(target, TagTarget):
        return [await _verify_tag(target, options)]
    if isinstance(target, DigestTarget):
        return [
            await verify_digest(
                target.digest, target.reference, stores=stores, criteria=criteria, now=now, ref=target.ref
            )
        ]
    if target.kind != "run":
        return [
            verify_bundle_file(
                target.data,
                ref=target.ref,
                criteria=criteria,
                now=now,
                digest=options.digest,
                form=target.kind,
                blob=options.blob,
            )
        ]
    return await _verify_run_file(target, options)


async def _verify_tag(target: TagTarget, options: _Options) -> Verification:
    """Resolve once; from here on the digest is what is asked for and printed."""
    if options.resolver is None:
        raise TypeError("a tag passed without a resolver")
    try:
        digest = await options.resolver.resolve(target.ref)
    except StoreError as error:
        return options.undecided(target.ref, "a digest for the tag", str(error), Reason.STORE_UNAVAILABLE)
    repository = str(parse_image(target.ref).repository)
    verification = await verify_digest(
        digest,
        repository,
        stores=options.stores,
        criteria=options.criteria,
        now=options.now,
        ref=f"{repository}@{digest}",
    )
    check = Check("target", Result.PASS, f"tag {target.ref}, resolved once", digest)
    return replace(verification, checks=(check, *verification.checks))


async def _verify_run_file(target: FileTarget, options: _Options) -> list[Verification]:
    intake = Intake()
    intake.add(target.ref, target.data)
    answers = [
        options.undecided(name, "a run that can be read", problem, Reason.TARGET_UNREADABLE)
        for name, problem in intake.problems
    ]
    for key in intake.top():
        if options.run and options.run not in {f"{key[1]}/{key[2]}", f"{key[0].lower()}/{key[1]}/{key[2]}"}:
            continue
        try:
            run = intake.snapshot(key)
        except InputError as error:
            label = f"{key[0].lower()}/{key[1]}/{key[2]}"
            expected = "a run that can be read"
            answers.append(options.undecided(label, expected, str(error), Reason.TARGET_UNREADABLE))
        else:
            answers.append(
                await verify_run(
                    run,
                    stores=[store.within(origin_of(run)) for store in options.stores],
                    criteria=options.criteria,
                    now=options.now,
                )
            )
    if not answers:
        what = f"no run {options.run}" if options.run else "neither a run nor a bundle"
        raise UsageError(f"{target.ref} holds {what}: expected a TaskRun, a PipelineRun or a signed bundle")
    return answers


def _queries(wanted: RunWanted) -> list[Query]:
    """Return what to ask for a run: each artifact, and the snapshot, the subject where there is none."""
    queries = []
    for subject in wanted.subjects:
        digests = dict(subject.digest or {})
        reference = _repository(subject.name)
        sha256 = digests.get("sha256")
        asked = {"sha256": sha256} if sha256 else digests
        queries += [
            Query(f"{name}:{value}", reference, is_optional=not (reference and sha256))
            for name, value in asked.items()
        ]
    return [*dict.fromkeys(queries), Query(f"sha256:{wanted.run.digest}", is_optional=True)]


def _repository(name: str) -> str:
    try:
        return str(parse_image(name).repository)
    except StoreRejected:
        return ""


def _urls(stores: Sequence[Store]) -> tuple[str, ...]:
    return tuple(store.url for store in stores)
