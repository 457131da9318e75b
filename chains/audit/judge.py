"""One run of a population, compared with evidence: it verifies now, or why it does not.

Evidence alone makes a run evidenced. A mark on a run is only told, because anybody who may write to a run can
mark it. A signed ledger says what was stored then, not what is there now. It is believed that a run was left
out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from chains.audit.exemptions import covering
from chains.audit.findings import Judged, State, Why
from chains.audit.policies import images_of, refusal
from chains.audit.population.known import KnownRun, Population
from chains.audit.retention.dispositions import Dispositions
from chains.config.parse import Config
from chains.config.selection import is_age
from chains.errors import InputError
from chains.policy.loaded import Policy
from chains.policy.reasons import Requirement
from chains.tekton.raw import as_text, text_at
from chains.tekton.snapshot import ChildGap, RunSnapshot, look_alikes, origin_of, take_snapshot
from chains.text import excerpt
from chains.verify.reasons import Reason, Result
from chains.verify.verdict import Check, Verdict, Verification
from chains.verify.verifier import Verifier
from storage.base import Store
from storage.record import Origin

Json = Any
_LONGEST = 300
"""Characters of words that come from a run, a store or a check."""
_ABSENT = frozenset({Reason.NO_ATTESTATION, Reason.NO_PROVENANCE, Reason.NO_EXECUTION_REPORT})
_NOT_FOUND = frozenset({Why.NO_EVIDENCE, Why.STORE_NOT_BY_RUN})
"""The reasons that say that no evidence was found."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The state of a run, why, and the verification's own reason."""

    state: State
    why: Why
    words: str
    detail: str = ""


class Judge:
    """Judges the runs of a population. ``config`` says which runs the configuration leaves out.

    Without a configuration nothing is left out. Images of a run must pass the ``policy``, too, if a document
    of it is for them. A run without evidence was disposed of if one of the ``dispositions`` names it. Any
    number of runs may be judged at the same time.
    """

    def __init__(
        self,
        verifier: Verifier,
        population: Population,
        config: Config | None,
        now: datetime,
        policy: Policy | None = None,
        dispositions: Dispositions | None = None,
    ) -> None:
        self.verifier, self._population = verifier, population
        self._config, self._now, self._policy = config, now, policy
        self.dispositions = dispositions
        self.places = tuple(store.url for store in verifier.stores)
        self._blind = [store.url for store in verifier.stores if not finds_runs(store)]

    async def judge(self, run: KnownRun) -> Judged:
        """Return what became of a run."""
        return (await self.verified(run))[0]

    async def verified(self, run: KnownRun) -> tuple[Judged, Verification | None, RunSnapshot | None]:
        """Return what became of a run, the verification, and the run's record as it was compared.

        There is no verification of a run that has not ended.
        """
        raw = self._population.whole(run)
        snapshot, problem = self._snapshot(run, raw) if run.is_finished else (None, "")
        if snapshot is not None and _lacks_child(snapshot):
            snapshot = None
        if not run.is_finished:
            found = await self._verify(run, None) if run.deleted else None
            return self._judged(run, self._of_unfinished(run, found)), found, None
        found = await self._verify(run, snapshot)
        answer = self._of_verification(found, is_compared=snapshot is not None)
        if answer.state is State.MISSING:
            disposed = await self._disposed(run)
            answer = disposed or self._without_evidence(run, raw, problem) or answer
        elif answer.state is State.EVIDENCED and snapshot is not None and self._policy is not None:
            refused = await refusal(self._policy, snapshot, self.verifier.stores, self._now)
            answer = Answer(*refused) if refused is not None else answer
        return self._judged(run, answer, self._exemption(run, answer, snapshot)), found, snapshot

    def _exemption(self, run: KnownRun, answer: Answer, snapshot: RunSnapshot | None) -> str:
        """Return the signed exemptions that cover an image of a run, in words. They decide nothing."""
        known = self._population.exemptions
        if not known or snapshot is None:
            return ""
        rules = (Requirement.EVIDENCE,) if answer.state in {State.MISSING, State.UNATTESTABLE} else ()
        return covering(known, images_of(snapshot), rules, run.finished, self._now)

    def _judged(self, run: KnownRun, answer: Answer, exemption: str = "") -> Judged:
        return Judged(
            run.kind,
            run.namespace,
            run.name,
            run.uid,
            answer.state,
            answer.why,
            excerpt(answer.words, 2 * _LONGEST),
            answer.detail,
            run.created,
            run.finished,
            self._population.names_of(run),
            self.places,
            excerpt(exemption, 2 * _LONGEST),
        )

    def children_without_record(self, parent: KnownRun) -> list[str]:
        """Return the names of the TaskRuns that a PipelineRun names and of which no source has the record.

        Without the whole PipelineRun nothing proves that a TaskRun of such a name is its child.
        """
        snapshot, _ = self._snapshot(parent, self._population.whole(parent))
        if snapshot is not None:
            return [gap.name for gap in _lacks_child(snapshot)]
        known = self._population.named
        return [name for name in parent.children if known("TaskRun", parent.namespace, name) is None]

    async def judge_child(self, child: KnownRun, parent: KnownRun, uids: Sequence[str]) -> Judged:
        """Return what became of a TaskRun that only its PipelineRun names.

        ``uids`` are runs of its name of which stores have evidence. The configuration leaves it out only by
        the settings of all TaskRuns: its own labels are not known, and those of its PipelineRun are others.
        """
        left_out = self._kind_left_out(child.kind)
        named = f"{parent.label} ({parent.uid}) names it, and no source has its record"
        state, why = State.MISSING, Why.CHILD_UNKNOWN
        words = f"{named}; no store has evidence of a run of this name"
        if left_out:
            state, why, words = State.SKIPPED, Why.LEFT_OUT, left_out
        for uid in uids if not left_out else ():
            found = await self.verifier.run_uid(uid, ref=child.label)
            if found.verdict is Verdict.VERIFIED:
                state, why = State.UNKNOWN, Why.CHILD_BY_NAME
                words = f"{named}; evidence of run {uid} of this name verifies, which may be another run"
        sources = self._population.names_of(parent)
        return Judged(
            child.kind, child.namespace, child.name, "", state, why, excerpt(words, 2 * _LONGEST),
            finished=child.finished, sources=sources, places=self.places,
        )  # fmt: skip

    def _snapshot(self, run: KnownRun, raw: Mapping[str, Json] | None) -> tuple[RunSnapshot | None, str]:
        """Return the run as a snapshot with its children, or why it has none."""
        if raw is None or not run.is_whole:
            return None, ""
        others: dict[tuple[str, str, str], Json] = {}
        for name in run.children:
            child = self._population.named("TaskRun", run.namespace, name)
            whole = self._population.whole(child) if child is not None else None
            if whole is not None:
                others["TaskRun", run.namespace, name] = whole
        try:
            snapshot = take_snapshot(raw, others)
        except InputError as error:
            return None, str(error)
        if alike := look_alikes(snapshot):
            return None, f"{alike[0]}; readers would disagree about it"
        return snapshot, ""

    async def _verify(self, run: KnownRun, snapshot: RunSnapshot | None) -> Verification:
        origin = (
            origin_of(snapshot) if snapshot else Origin(run.kind.lower(), run.namespace, run.name, run.uid)
        )
        verifier = self.verifier.within([store.within(origin) for store in self.verifier.stores])
        if snapshot is not None:
            return await verifier.run(snapshot)
        return await verifier.run_uid(run.uid, ref=run.label)

    def _of_verification(self, found: Verification, *, is_compared: bool) -> Answer:
        summary = excerpt(found.summary, _LONGEST)
        if found.verdict is Verdict.VERIFIED:
            if is_compared:
                return Answer(State.EVIDENCED, Why.VERIFIED, summary)
            words = f"{summary}; no source has the whole run, so its record was not compared"
            return Answer(State.EVIDENCED, Why.VERIFIED_BY_UID, words)
        if found.verdict is Verdict.INDETERMINATE:
            return _undecided(found, summary)
        failed = _telling(found) if found.verdict is Verdict.FAILED else None
        if failed is not None and failed.reason not in _ABSENT and not _only_of_others(found):
            if not is_compared and _only_unnamed(found):
                words = "evidence was found that names no run (SLSA v0.2), and no source has the whole run"
                return Answer(State.UNKNOWN, Why.UID_NOT_SIGNED, words)
            return Answer(State.FAILED, Why.EVIDENCE_INVALID, summary, _code(failed))
        return self._absent(is_compared=is_compared)

    def _absent(self, *, is_compared: bool) -> Answer:
        """Return the answer for a run of which no store gave evidence."""
        if not is_compared and self._blind:
            blind = ", ".join(self._blind)
            words = f"no source has the whole run, and these stores cannot be searched by UID: {blind}"
            return Answer(State.UNKNOWN, Why.STORE_NOT_BY_RUN, words)
        return Answer(State.MISSING, Why.NO_EVIDENCE, "no store has evidence of this run")

    async def _disposed(self, run: KnownRun) -> Answer | None:
        """Return what a record of the evidence that is demanded of a run says, None without one."""
        if self.dispositions is None:
            return None
        found = await self.dispositions.of_run(run.uid, self.verifier.criteria.wanted_types)
        return None if found is None else Answer(State.DISPOSED, Why.DISPOSED, found.words)

    def _without_evidence(self, run: KnownRun, raw: Mapping[str, Json] | None, problem: str) -> Answer | None:
        """Return why a finished run has no evidence, as far as something is known about it.

        A signed ledger that says that the run was attested, or was to be, counts before the record: labels
        can be changed after the end.
        """
        if run.recorded in {"evidenced", "failed"}:
            return _recorded(run)
        if raw is not None and (left_out := self.left_out(raw)):
            return Answer(State.SKIPPED, Why.LEFT_OUT, left_out)
        if problem:
            return Answer(State.UNATTESTABLE, Why.NOT_DESCRIBABLE, problem)
        return _recorded(run) or _marked(run) or _deleted(run)

    def left_out(self, raw: Mapping[str, Json]) -> str:
        """Return why the configuration leaves a run out, empty if it does not or there is none.

        An age in ``backlog.since`` leaves out nothing: the controller counts it from the time at which it
        sees the run. Counted from the audit it would leave out every older run.
        """
        if self._config is None:
            return ""
        selection, kind = self._config.selection, as_text(raw.get("kind"))
        if left_out := self._kind_left_out(kind):
            return left_out
        if not selection.is_ours(raw):
            manager = text_at(raw, "spec", "managedBy")
            return f"left out: spec.managedBy {manager[:100]!r} is not one of filter.managed-by"
        found = selection.left_out(raw, self._now)
        if found is None or (found.is_old and is_age(selection.since)):
            return ""
        return found.reason

    def _kind_left_out(self, kind: str) -> str:
        """Return why the configuration leaves all runs of a kind out, empty if it does not."""
        if self._config is None:
            return ""
        artifact = self._config.taskrun if kind == "TaskRun" else self._config.pipelinerun
        return "" if artifact.enabled else f"left out: the configuration stores nothing for a {kind}"

    def _of_unfinished(self, run: KnownRun, found: Verification | None) -> Answer:
        """Return the answer for a run whose end no source saw."""
        if found is None:
            return Answer(State.OPEN, Why.NOT_ENDED, "it has not ended")
        answer = self._of_verification(found, is_compared=False)
        if answer.why not in _NOT_FOUND:
            return answer
        by = f" by {run.deleted_by}" if run.deleted_by else ""
        if run.vanished:
            gap = self._gap_of(run)
            words = f"it was gone at {run.deleted}: {run.vanished}; whether it had ended is not known"
            if gap:
                return Answer(State.UNKNOWN, Why.IN_GAP, f"{words}; {gap}")
            return Answer(State.UNKNOWN, Why.END_NOT_SEEN, words)
        if self._saw_ends(run):
            words = f"it was deleted at {run.deleted}{by}, before it had ended"
            return Answer(State.OPEN, Why.DELETED_BEFORE_END, words)
        words = f"it was deleted at {run.deleted}{by}; no source shows whether it had ended"
        return Answer(State.UNKNOWN, Why.END_NOT_SEEN, words)

    def _saw_ends(self, run: KnownRun) -> bool:
        """Whether one of the run's sources shows the end of runs that were deleted since."""
        return any(
            run.sources >> number & 1 and run.kind in one.ends_of
            for number, one in enumerate(self._population.sources)
        )

    def _gap_of(self, run: KnownRun) -> str:
        """Return the gap in which a run may have ended, in words."""
        for source in self._population.sources:
            for gap in source.gaps:
                if gap.overlaps(run.created, run.deleted):
                    return f"{source.name} saw nothing from {gap.since} to {gap.until} ({gap.reason})"
        return ""


def _undecided(found: Verification, summary: str) -> Answer:
    error = next((one for one in found.checks if one.result is Result.ERROR), None)
    if error is not None and error.id == "target":
        return Answer(State.UNATTESTABLE, Why.NOT_DESCRIBABLE, summary, _code(error))
    return Answer(State.UNKNOWN, Why.STORE_UNAVAILABLE, summary, _code(error))


def _recorded(run: KnownRun) -> Answer | None:
    """Return what a signed ledger says about a run of which no store gave evidence."""
    told = f": {excerpt(run.recorded_reason, _LONGEST)}" if run.recorded_reason else ""
    if run.recorded == "evidenced":
        words = "the ledger says that its evidence was stored, and no store has it"
        return Answer(State.MISSING, Why.EVIDENCE_GONE, words)
    if run.recorded == "skipped":
        return Answer(State.SKIPPED, Why.LEFT_OUT_THEN, f"the ledger says that it was left out{told}")
    if run.recorded == "failed":
        return Answer(State.FAILED, Why.ATTESTING_FAILED, f"the controller could not attest it{told}")
    return None


def _marked(run: KnownRun) -> Answer | None:
    told = f": {excerpt(run.mark_reason, _LONGEST)}" if run.mark_reason else ""
    if run.mark == "failed":
        return Answer(State.FAILED, Why.ATTESTING_FAILED, f"the controller could not attest it{told}")
    if run.stripped:
        words = f"its finalizer was taken off by {run.stripped}, before it was attested"
        return Answer(State.MISSING, Why.FINALIZER_STRIPPED, words)
    if run.mark:
        words = f"it is marked {run.mark!r}{told}, and no store has evidence; anybody can write a mark"
        return Answer(State.MISSING, Why.MARKED_WITHOUT_EVIDENCE, words)
    return None


def _deleted(run: KnownRun) -> Answer | None:
    if not run.deleted:
        return None
    by = f" by {run.deleted_by}" if run.deleted_by else ""
    gone = f" ({run.vanished})" if run.vanished else ""
    words = f"it was deleted at {run.deleted}{by}{gone}, and no store has evidence"
    return Answer(State.MISSING, Why.DELETED_WITHOUT_EVIDENCE, words)


def finds_runs(store: Store) -> bool:
    """Whether a store can be searched by the UID of a run; a registry, for example, cannot."""
    return type(store).find_run is not Store.find_run


def _lacks_child(snapshot: RunSnapshot) -> Sequence[ChildGap]:
    """Return the TaskRuns that a PipelineRun names and that are not in its snapshot."""
    return [gap for gap in snapshot.gaps if gap.kind == "TaskRun"]


def _telling(found: Verification) -> Check | None:
    """Return the failed check that says why evidence does not verify."""
    failed = [one for one in found.checks if one.result is Result.FAIL]
    return next((one for one in failed if one.reason not in _ABSENT), failed[0] if failed else None)


def _only_unnamed(found: Verification) -> bool:
    """Whether somebody trusted signed provenance, and none of it names a run."""
    signed = [
        one
        for one in found.attestations
        if one.statement is not None and one.statement.predicate_type in found.criteria.wanted_types
    ]
    return bool(signed) and not any(one.run_uid for one in signed)


def _only_of_others(found: Verification) -> bool:
    """Whether all evidence is signed by somebody trusted and names other runs, which made the same image."""
    evidence = [one for one in found.attestations if not one.is_image_signature]
    return bool(evidence) and all(
        one.statement is not None and one.run_uid not in {"", found.target.uid} for one in evidence
    )


def _code(check: Check | None) -> str:
    return check.reason.value if check is not None and check.reason is not None else ""
