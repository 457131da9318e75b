"""Evidence, stores and criteria in; one verdict with all its checks out.

The verdict is VERIFIED only if somebody trusted signed at least one statement that passed every check.
Everything else is FAILED, NOT_FOUND or INDETERMINATE, with the reason; bad evidence never raises.
``docs/verify.md`` explains verdicts, reasons and decisions. The rules for one piece of evidence are in
``evidence``, those for runs in ``run``, the verdict in ``conclude``.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Generic, Self, cast, overload

from chains.errors import InputError, UsageError
from chains.verify.conclude import conclude, undecided
from chains.verify.criteria import Criteria, Missing, MissingError
from chains.verify.examining.case import Case
from chains.verify.reasons import Reason, Result
from chains.verify.runs.question import RunQuestion
from chains.verify.search import Query, Search, searched
from chains.verify.subject import BlobWanted, DigestWanted, NothingWanted, Wanted
from chains.verify.targets import (
    DigestTarget,
    FileTarget,
    ImagePolicy,
    ParsedTarget,
    TagResolver,
    TagTarget,
    parse_digest,
    parse_target,
    resolved_image,
)
from chains.verify.verdict import Check, Target, Verification
from storage.base import Store, StoreOptions
from storage.errors import StoreError, StoreRejected
from storage.formats.reference import PREFIXES, parse_image
from storage.open import open_store
from storage.record import Evidence

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from chains.revocation.revocations import Revocations
    from chains.tekton.snapshot import RunSnapshot

    Answer = TypeVar("Answer", default=Verification)
else:
    from typing import TypeVar

    Answer = TypeVar("Answer")

AT_ONCE = 8
"""Targets in work at the same time."""
_REGISTRY = "oci:"


def _now() -> datetime:
    return datetime.now(UTC)


class Verifier(Generic[Answer]):
    """Verifies what stores have against one set of criteria, or asks a policy about images.

    ``stores`` are URLs, which are opened with ``options``, or open stores; with a policy, an image's registry
    is the default. As an asynchronous context manager it closes all of them at its end. ``resolver`` looks up
    tags; without one they are refused. ``clock`` gives the time at which certificates, windows of keys and
    timestamps are judged, read once for each verification. Any number of verifications may run at the same
    time, for as long as the verifier is open. ``revocations`` are what no longer counts; a policy has its
    own, which were given when it was opened.

    A verifier with a policy answers :meth:`image` alone, with the policy's own answer. Raises
    :class:`UsageError` for both or neither of criteria and policy.
    """

    @overload
    def __init__(
        self: Verifier[Verification],
        criteria: Criteria,
        stores: Sequence[str | Store] = (),
        *,
        options: StoreOptions | None = None,
        resolver: TagResolver | None = None,
        clock: Callable[[], datetime] = _now,
        revocations: Revocations | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        *,
        policy: ImagePolicy[Answer],
        stores: Sequence[str | Store] = (),
        options: StoreOptions | None = None,
        resolver: TagResolver | None = None,
        clock: Callable[[], datetime] = _now,
    ) -> None: ...

    def __init__(
        self,
        criteria: Criteria | None = None,
        stores: Sequence[str | Store] = (),
        *,
        policy: ImagePolicy[Any] | None = None,
        options: StoreOptions | None = None,
        resolver: TagResolver | None = None,
        clock: Callable[[], datetime] = _now,
        revocations: Revocations | None = None,
    ) -> None:
        if (criteria is None) is (policy is None):
            raise UsageError("a verifier has criteria or a policy: give one of them")
        if policy is not None:
            stores = stores or (_REGISTRY,)
        if policy is not None and revocations is not None:
            raise UsageError("a policy has revocations of its own: give them where it is opened")
        self._criteria = criteria
        self.revocations = revocations
        self.policy = policy
        self.stores: tuple[Store, ...] = tuple(
            open_store(store, options) if isinstance(store, str) else store for store in stores
        )
        self.resolver = resolver
        self._clock = clock

    @property
    def criteria(self) -> Criteria:
        """What evidence must satisfy. Raises :class:`UsageError` for a verifier with a policy."""
        if self._criteria is None:
            raise UsageError("a policy decides about images alone: use image(), or a verifier with criteria")
        return self._criteria

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every store."""
        for store in self.stores:
            await store.close()

    def within(self, stores: Sequence[Store]) -> Self:
        """Return this verifier looking in other stores."""
        other = copy(self)
        other.stores = tuple(stores)
        return other

    async def image(
        self,
        reference: str,
        *,
        resolve: bool = False,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Answer:
        """Verify an image, ``REGISTRY/REPOSITORY@sha256:HEX``.

        With ``resolve`` it may be named by a tag, which the ``resolver`` looks up once; the digest is what is
        verified. ``namespace`` and its ``labels`` say where the image runs, for a policy; what is not given
        is not compared. Raises :class:`UsageError` for a tag without ``resolve``, for what is no image, and
        where a policy refuses.
        """
        if "@" not in reference and not resolve:
            raise UsageError(
                f"{reference} has no digest: give REGISTRY/REPOSITORY@sha256:HEX, or resolve its tag"
            )
        if self.policy is not None:
            image = await resolved_image(reference, self.resolver)
            found = await self.policy.decide(
                image, stores=self.stores, now=self._clock(), namespace=namespace, labels=labels
            )
            return cast("Answer", found)
        if namespace is not None or labels is not None:
            raise UsageError("a namespace is compared by policies alone: leave it out, or give a policy")
        word = reference if reference.startswith(PREFIXES) else f"{PREFIXES[0]}{reference}"
        found = await cast("Verifier", self).targets([word], resolve=resolve)
        return cast("Answer", found[0])

    async def digest(
        self: Verifier[Verification], digest: str, reference: str = "", *, ref: str = ""
    ) -> Verification:
        """Verify what the stores have about one subject, ``algorithm:hex``.

        ``reference`` is its repository, for stores that need one; ``ref`` what the user calls it. Raises
        :class:`UsageError` for a malformed digest.
        """
        algorithm, _, value = parse_digest(digest).partition(":")
        wanted = DigestWanted({algorithm: value})
        target = Target(ref or digest, wanted.digest)
        # step 1: find evidence, which is held only while it is judged
        async with searched(self.stores, [Query(f"{algorithm}:{value}", reference)]) as found:
            return self._conclude(target, wanted, found)

    async def run(self: Verifier[Verification], run: RunSnapshot) -> Verification:
        """Verify that what was signed about a run is what its record says, and that the record is unchanged.

        Evidence is looked for by the digests of the run's artifacts, by the snapshot's and by the run's UID.
        """
        from chains.verify.runs.run import RunWanted  # noqa: PLC0415 - images alone do without it

        target = Target(run.label, {"sha256": run.digest}, run.uid)
        wanted = RunWanted(run)
        try:
            queries = queries_of(wanted)
        except Exception as error:  # noqa: BLE001 - a run that breaks a format must hurt no other target
            actual = f"unexpected {type(error).__name__}: {error}; please report it"
            check = Check(
                "target", Result.ERROR, "a run that can be described", actual, Reason.INTERNAL_ERROR
            )
            return self._undecided(target, check)
        async with searched(self.stores, queries, run.uid) as found:  # step 1: find evidence
            return self._conclude(target, wanted, found)

    async def run_uid(self: Verifier[Verification], uid: str, *, ref: str = "") -> Verification:
        """Verify that provenance of the run ``uid`` was signed. Its record is not compared: it is not known.

        Evidence is looked for by the UID, which registries cannot do. ``ref`` is what the user calls the run.
        Raises :class:`UsageError` for an empty UID.
        """
        from chains.verify.runs.by_uid import UidWanted  # noqa: PLC0415 - images alone do without it

        if not uid:
            raise UsageError("a run without UID cannot be looked for")
        async with searched(self.stores, (), uid) as found:
            return self._conclude(Target(ref or uid, {}, uid), UidWanted(uid), found)

    async def bundle(
        self: Verifier[Verification],
        data: bytes,
        *,
        ref: str = "bundle",
        digest: str = "",
        form: str = "bundle",
        blob: bytes | None = None,
    ) -> Verification:
        """Verify one bundle (``form`` ``bundle``) or envelope (``dsse``), without asking any store.

        ``blob`` is the file that it must be about: a subject of its statement, or what a message signature is
        over. ``digest``, ``algorithm:hex``, names a subject without the file. Without both, VERIFIED means
        that somebody trusted signed this statement; its subject was not compared. ``ref`` is what the user
        calls the bundle. Raises :class:`UsageError` for a malformed digest.
        """
        return self.judge_bundle(data, ref=ref, digest=digest, form=form, blob=blob)

    def judge_bundle(
        self: Verifier[Verification],
        data: bytes,
        *,
        ref: str = "bundle",
        digest: str = "",
        form: str = "bundle",
        blob: bytes | None = None,
    ) -> Verification:
        """Do what :meth:`bundle` does, outside of an event loop."""
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
        found = Search((Evidence("file", ref, own, form, data),))
        case = Case(target, wanted, self.criteria, (), self._clock(), found, True, self.revocations)
        return self.judge(case)

    def judge(self, case: Case) -> Verification:
        """Return the answer to one case. Every verification by criteria ends here, with its evidence."""
        return conclude(case)

    async def target(
        self: Verifier[Verification], word: str, *, resolve: bool = False, digest: str = "", run: str = ""
    ) -> Verification:
        """Verify one target: an image with digest, a digest, a run file or a bundle file.

        ``digest`` is the artifact that a bundle file must speak for, ``run`` (``NAMESPACE/NAME``) picks one
        run of a file that holds several. A tag is looked up only with ``resolve``. Raises
        :class:`UsageError` for what is no target.
        """
        return await self.parsed_target(parse_target(word, resolve=resolve), digest=digest, run=run)

    async def parsed_target(
        self: Verifier[Verification],
        target: ParsedTarget,
        *,
        digest: str = "",
        run: str = "",
        blob: bytes | None = None,
    ) -> Verification:
        """Verify one target that was parsed before; ``blob`` is the file that a bundle must be about."""
        question = _Question(self, target, digest, run, blob)
        question.check_usage()
        found = await question.answers()
        if len(found) != 1:
            names = ", ".join(one.target.ref for one in found[:10])
            raise UsageError(
                f"{target.ref} holds {len(found)} runs; name one of them as NAMESPACE/NAME: {names}"
            )
        return found[0]

    async def targets(
        self: Verifier[Verification],
        words: Sequence[str],
        *,
        resolve: bool = False,
        digest: str = "",
        blob: bytes | None = None,
    ) -> list[Verification]:
        """Verify several targets, in their order; a file with several runs gives one answer for each.

        ``digest`` and ``blob`` are what bundle files must be about; see :meth:`bundle`. A tag is looked up
        only with ``resolve``. Raises :class:`UsageError`, before anything is verified, if one of them is no
        target.
        """
        asked = [(self, parse_target(word, resolve=resolve)) for word in words]
        return await verify_all(asked, digest=digest, blob=blob)

    def _conclude(self, target: Target, wanted: Wanted, found: Search) -> Verification:
        urls = _urls(self.stores)
        case = Case(target, wanted, self.criteria, urls, self._clock(), found, False, self.revocations)
        return self.judge(case)

    def _undecided(self, target: Target, check: Check) -> Verification:
        return undecided(target, check, self.criteria, _urls(self.stores), self._clock())


async def verify_all(
    asked: Sequence[tuple[Verifier, ParsedTarget]], *, digest: str = "", blob: bytes | None = None
) -> list[Verification]:
    """Verify each target with its own verifier, several at once, as :meth:`Verifier.targets` does."""
    questions = [_Question(verifier, target, digest, blob=blob) for verifier, target in asked]
    for question in questions:
        question.check_usage()
    places = asyncio.Semaphore(AT_ONCE)

    async def guarded(question: _Question) -> list[Verification]:
        async with places:
            return await question.answers()

    found = await asyncio.gather(*map(guarded, questions))
    return [verification for answers in found for verification in answers]


@dataclass(frozen=True, slots=True)
class _Question:
    """One target for one verifier; ``digest`` and ``blob`` belong to bundle files, ``run`` to run files."""

    verifier: Verifier
    target: ParsedTarget
    digest: str = ""
    run: str = ""
    blob: bytes | None = field(default=None, repr=False)

    def check_usage(self) -> None:
        """Raise :class:`UsageError` for a question that contradicts itself or is incomplete."""
        target, criteria = self.target, self.verifier.criteria
        is_bundle = isinstance(target, FileTarget) and target.kind != "run"
        if self.digest and not is_bundle:
            raise UsageError(
                f"{target.ref} is no bundle file: a digest to compare with belongs to bundle files alone"
            )
        if self.blob is not None and not is_bundle:
            raise MissingError(f"{target.ref} is no bundle file", Missing.BUNDLE)
        is_run = isinstance(target, FileTarget) and not is_bundle
        if criteria.require_hermetic and not is_run and not criteria.says_whose_run:
            raise MissingError(
                f"{target.ref}: hermetic execution is required, but not whose run it must be: any task can "
                "say that it made this artifact",
                Missing.WHOSE_RUN,
            )
        if not is_bundle and not self.verifier.stores:
            raise MissingError(f"no store to look for evidence about {target.ref}", Missing.STORE)
        if isinstance(target, TagTarget) and self.verifier.resolver is None:
            raise UsageError(
                f"{target.ref} names a tag and nothing here can resolve it: give the image's digest"
            )
        if self.digest:
            parse_digest(self.digest)

    async def answers(self) -> list[Verification]:
        """Return the verification of the target, or of each run of a file."""
        target, verifier = self.target, self.verifier
        if isinstance(target, TagTarget):
            return [await self._verify_tag(target)]
        if isinstance(target, DigestTarget):
            return [await verifier.digest(target.digest, target.reference, ref=target.ref)]
        if target.kind != "run":
            return [
                await verifier.bundle(
                    target.data, ref=target.ref, digest=self.digest, form=target.kind, blob=self.blob
                )
            ]
        return await self._verify_run_file(target)

    def _undecided(self, ref: str, expected: str, actual: str, reason: Reason) -> Verification:
        """Return the answer for a target for which no evidence could be searched."""
        check = Check("target", Result.ERROR, expected, actual, reason)
        return self.verifier._undecided(Target(ref), check)

    async def _verify_tag(self, target: TagTarget) -> Verification:
        """Look the tag up once; its digest is what is verified and printed."""
        if self.verifier.resolver is None:
            raise TypeError("a tag passed without a resolver")
        try:
            digest = await self.verifier.resolver.resolve(target.ref)
        except StoreError as error:
            return self._undecided(target.ref, "a digest for the tag", str(error), Reason.STORE_UNAVAILABLE)
        repository = str(parse_image(target.ref).repository)
        verification = await self.verifier.digest(digest, repository, ref=f"{repository}@{digest}")
        check = Check("target", Result.PASS, f"tag {target.ref}, resolved once", digest)
        return replace(verification, checks=(check, *verification.checks))

    async def _verify_run_file(self, target: FileTarget) -> list[Verification]:
        from chains.tekton.run_files import Intake  # noqa: PLC0415 - images alone do without it
        from chains.tekton.snapshot import origin_of  # noqa: PLC0415

        intake = Intake()
        intake.add(target.ref, target.data)
        expected = "a run that can be read"
        answers = [
            self._undecided(name, expected, problem, Reason.TARGET_UNREADABLE)
            for name, problem in intake.problems
        ]
        for key in intake.top():
            label = f"{key[0].lower()}/{key[1]}/{key[2]}"
            if self.run and self.run not in {f"{key[1]}/{key[2]}", label}:
                continue
            try:
                run = intake.snapshot(key)
            except InputError as error:
                answers.append(self._undecided(label, expected, str(error), Reason.TARGET_UNREADABLE))
                continue
            # a store may keep evidence in a place that is named after the run
            stores = [store.within(origin_of(run)) for store in self.verifier.stores]
            answers.append(await self.verifier.within(stores).run(run))
        if not answers:
            what = f"no run {self.run}" if self.run else "neither a run nor a bundle"
            raise UsageError(
                f"{target.ref} holds {what}: expected a TaskRun, a PipelineRun or a signed bundle"
            )
        return answers


def queries_of(wanted: RunQuestion) -> list[Query]:
    """Return the queries for a run: its artifacts, and its snapshot, the subject if it has none."""
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
