"""What the controller does with one run: read it, attest it, mark it with one PATCH, or try again later.

Nothing here has to survive a restart: a run that is not marked is listed again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from chains.attest.earlier import Earlier
from chains.attest.outcome import FAILED, SKIPPED, Outcome
from chains.audit.ledger.errors import LedgerError
from chains.cluster.client import Cluster, expect_small, get_outline
from chains.cluster.errors import ClusterError, ClusterUnavailable, ObjectChanged, ObjectGone, ObjectLarge
from chains.controller import heap
from chains.controller.crashes.trial import Trial
from chains.controller.flow import FlowInForce
from chains.controller.ledger.ledger import Ledger
from chains.controller.losses import Losses
from chains.controller.marks.marker import Marker
from chains.controller.marks.patches import is_marked, note_patch
from chains.controller.memory.child_runs import Children, ChildRuns
from chains.controller.memory.run_cache import RunCache, RunKey, StartedRuns
from chains.controller.metrics import Metrics
from chains.controller.permit import Permit, PermitLost
from chains.controller.surroundings import TEKTON_NAMESPACE, SurroundingsReader
from chains.controller.work.crew import FEWEST, Growth
from chains.controller.work.large_runs import WAIT, LargeRuns
from chains.controller.work.patience import Patience
from chains.controller.work.retries import Retries
from chains.controller.work.retry import LONGEST_HOLD, age, is_retrying
from chains.controller.work.worklist import WorkList
from chains.controller.workers import Workers, admit_all
from chains.documents.decode import UNREADABLE
from chains.errors import ChainsError, ConfigError
from chains.tekton.runs import Job, label_of, run_path
from chains.tekton.snapshot import RunSnapshot, has_ended, take_snapshot
from chains.tekton.surroundings import Surroundings
from chains.tracing import fail, link_to_tekton, note, span, traced_run
from storage import lean_json
from storage.limits.circuits import Circuits

_WAIT_FOR_CHILDREN = 30.0
"""Seconds after which a PipelineRun whose children are not marked is looked at again. The last mark wakes it
sooner."""
_LONGEST_OUTAGE_PAUSE = 30.0
"""The longest pause in seconds if the run is not at fault: the API server is away, or the run gave way."""
_log = logging.getLogger("chains.controller")


@dataclass(frozen=True, slots=True)
class HowToWork:
    """How a controller works.

    It attests ``workers`` runs at once, or up to ``most_workers`` if that is more, and tries a run that fails
    again for ``retry_for`` seconds. With ``waits_for_children`` a PipelineRun waits some minutes until its
    children are marked.
    """

    workers: int = FEWEST
    most_workers: int = 0
    retry_for: float = 21_600
    waits_for_children: bool = True
    tekton_namespace: str = TEKTON_NAMESPACE


def _to_nobody(job: Job, outcome: Outcome) -> None:
    del job, outcome


@dataclass(frozen=True, slots=True)
class SharedParts:
    """What a controller shares with the rest of its process.

    ``admit`` is called before a run is looked at. None drops the run, else the permit is asked again right
    before anything is stored or written. ``run_cache`` has the runs that the watch delivered, ``circuits``
    the hosts that do not answer; ``trial`` looks at runs that may have ended the process. ``ledger`` notes
    every run. ``offer`` is called with each marked run.
    """

    admit: Callable[[Job], Permit | None] = admit_all
    run_cache: RunCache = field(default_factory=lambda: RunCache(max_bytes=0))
    circuits: Circuits = field(default_factory=Circuits)
    trial: Trial | None = None
    ledger: Ledger = field(default_factory=Ledger)
    offer: Callable[[Job, Outcome], None] = _to_nobody


class Controller:
    """Attests and marks the jobs of a work list with the flow in force."""

    def __init__(
        self,
        cluster: Cluster,
        work: WorkList,
        flow: Callable[[], FlowInForce],
        metrics: Metrics,
        how: HowToWork | None = None,
        shared: SharedParts | None = None,
    ) -> None:
        how, shared = how or HowToWork(), shared or SharedParts()
        self._metrics = metrics
        self._cluster, self._work, self._flow = cluster, work, flow
        growth = Growth(how.workers, max(how.workers, how.most_workers))
        self._ledger, self._offer = shared.ledger, shared.offer
        self._trial, self._run_cache, distance = shared.trial, shared.run_cache, shared.circuits.distance
        self._workers = Workers(work, self, metrics, growth, distance, admit=shared.admit, trial=shared.trial)
        self._retries = Retries(work, metrics, shared.circuits, how.retry_for)
        self._waits_for_children = how.waits_for_children
        self._started_runs = StartedRuns()
        self._child_runs = ChildRuns(cluster)
        self._surroundings = SurroundingsReader(cluster, how.tekton_namespace)
        self._large = LargeRuns(work.hasten)
        self._marker = Marker(cluster, lambda job: self._workers.check(job, "the run was written"))
        self._losses = Losses(metrics, self._marker.tell)
        self._patience = Patience(work, self._child_runs, self._marker)
        metrics.waiting.set_function(lambda: len(self._patience))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._workers.run()

    async def take_turn(self, job: Job) -> None:
        """Look at a run that a worker took."""
        self._retries.begin_turn(job)
        await self._look_at(job)

    def gave_way(self, job: Job) -> None:
        """Look again later at a run whose turn was ended for those of others."""
        reason = f"it took long, and runs of other namespaces than {job.namespace} waited for a worker"
        trouble = self._retries.trouble(job)
        self._retries.again(job, trouble, reason, _LONGEST_OUTAGE_PAUSE, slow=True)

    def set_apart(self, job: Job) -> None:
        """Leave a run to the trial."""
        self._large.forget(job)

    def forget(self, unwanted: Callable[[str], bool]) -> None:
        """Forget the runs that belong to another replica now.

        ``unwanted`` gets the UID of a PipelineRun, or of a TaskRun without one.
        """
        self._child_runs.forget_all(unwanted)
        self._started_runs.forget_all(lambda job: unwanted(job.owner or job.uid))
        self._marker.forget_all(lambda job: unwanted(job.owner or job.uid))
        self._patience.forget_all(lambda job: unwanted(job.owner or job.uid))
        self._retries.forget_all(lambda job: unwanted(job.owner or job.uid))
        self._large.forget_all(lambda job: unwanted(job.owner or job.uid))

    def left(self, job: Job, raw: Mapping[str, Any]) -> bool:
        """Note that a finished run left the watch; ``raw`` is its last version. True if it is to be looked
        at."""
        try:
            selection = self._flow().config.selection
        except ConfigError:  # there is no configuration yet
            selection = None
        return self._losses.left(job, raw, selection)

    def saw(self, job: Job, raw: Mapping[str, Any], *, listed: bool) -> None:
        """Note a run that the watch delivered in the ledger, if there is one and the run is ours."""
        if self._ledger.is_on and self._flow().config.selection.is_ours(raw):
            self._ledger.saw(job, raw, listed=listed)

    async def look_at(self, job: Job) -> str:
        """Look at one run as if a worker had taken it. If it is to be looked at again it is in the work list.

        Returns the error if our own code failed on the run, else an empty text.
        """
        before = self._retries.trouble(job).crashes
        await self._look_at(job)
        trouble = self._retries.troubles.get(job)
        return trouble.reason if trouble is not None and trouble.crashes > before else ""

    async def _look_at(self, job: Job) -> None:
        has_left = self._losses.has_left(job)
        try:
            if await self.handle(job):
                self._retries.let_go(job)
                self._large.forget(job)
            if has_left:  # a run that left the watch during this turn is looked at once more
                self._losses.there(job)
        except PermitLost as lost:
            self.let_go(job)
            _log.info("run is left to another replica", extra={"run": label_of(job), "reason": str(lost)})
        except ObjectGone:
            _log.info("run is gone", extra={"run": label_of(job)})
            await self._see_off(job)
        except ObjectChanged:
            # the run was changed between our read and our patch: read it again
            self._work.later(job, random.uniform(0.05, 0.5))  # noqa: S311 - jitter
        except ClusterError as error:
            # the API server is away, or refuses something that an operator can mend, such as a missing
            # permission: the run is never given up for that
            away = isinstance(error, ClusterUnavailable)
            longest = _LONGEST_OUTAGE_PAUSE if away else math.inf
            self._retries.again(job, self._retries.trouble(job), str(error), longest)
        except LedgerError as error:
            # nothing is marked that the ledger cannot say: the run is held until it can
            self._retries.again(job, self._retries.trouble(job), str(error), _LONGEST_OUTAGE_PAUSE)
        except Exception as error:  # noqa: BLE001 - a run that breaks us must not stop the others
            _log.exception("unexpected failure", extra={"run": label_of(job)})
            self._retries.broke(job, error)

    def let_go(self, job: Job) -> None:
        """Forget a run that is gone, or another replica's."""
        self._retries.let_go(job)
        self._losses.there(job)
        self._started_runs.forget(job)
        self._large.forget(job)
        self._marker.forget(job)
        self._patience.forget(job)

    async def _see_off(self, job: Job) -> None:
        """Forget a run that does not exist any more, and report it if it is lost."""
        self._ledger.gone(job, "it does not exist any more")
        await self._losses.gone(job)
        self.let_go(job)
        self._child_runs.forget((job.namespace, job.uid))
        if self._trial is not None:
            self._trial.journal.settled(job)

    @traced_run
    async def handle(self, job: Job) -> bool:
        """Look at one run once; False if it will be looked at again.

        Few large runs are in work at a time, because they take much memory. The others wait and are not read.
        Raises :class:`ClusterError`, and :class:`PermitLost` if the permit ended meanwhile.
        """
        if not self._large.weight(job):
            try:
                return await self._handle(job)
            except ObjectLarge as found:
                self._large.note(job, found.weight)
        if not self._large.begin(job):
            self._work.later(job, WAIT)
            return False
        try:
            await lean_json.one_by_one(heap.trim)
            return await self._handle(job, self._large.weight(job))
        except ObjectLarge as found:
            self._large.note(job, found.weight)
            self._work.later(job, 0)
            return False
        finally:
            self._large.end(job)

    async def _handle(self, job: Job, weight: int = 0) -> bool:
        """Look at a run for which ``weight`` is reserved, 0 for a run that is not large.

        Raises :class:`ObjectLarge` for a run that is heavier.
        """
        small = not weight
        with span("read"):
            raw = self._run_cache.take(job) or await get_outline(
                self._cluster, run_path(job), check=expect_small if small else None
            )
        link_to_tekton(raw)
        metadata, flow = raw["metadata"], self._flow()
        if metadata.get("uid") != job.uid:
            await self._see_off(job)
            return True  # a new run of the same name, which has a job of its own
        if is_retrying(metadata):
            self._retries.trouble(job, raw)
        ended, is_ours = has_ended(raw), flow.config.selection.is_ours(raw)
        if is_ours and not (ended and is_marked(metadata)):
            self._ledger.saw(job, raw, listed=True)
        if ended and is_marked(metadata):
            await self._ledger.found_marked(job, raw)
            if self._marker.unwritten(job) is not None or (self._trial and self._trial.has_marked(job)):
                # our mark was written although its answer was lost, or the trial's process wrote it
                self._child_runs.keep(raw)
            self._child_runs.marked(metadata)
            await self._marker.finish(job, metadata)
        elif not is_ours:
            if self._ledger.is_undecided(job):
                self._ledger.gone(job, "another controller has it: filter.managed-by does not name it")
            await self._marker.leave(job, metadata)
        elif ended:
            with flow.uses.one():
                return await self._work_on(job, raw, flow, weight)
        else:
            await self._ledger.sighted(job, raw)
            if not await self._marker.hold(job, metadata):
                # the run changed since it was read, most often because it ended: look again at once
                self._work.later(job, 0)
            if job.kind == "PipelineRun" and not self._poison(job):
                await self._child_runs.seed(raw, weight)
        return True

    def _decided(self, job: Job, raw: Mapping[str, Any], flow: FlowInForce) -> Outcome | None:
        """Return the outcome of a run that is not attested: the configuration leaves it out, or it is put
        aside."""
        if left_out := flow.config.selection.left_out(raw, datetime.now(UTC)):
            return Outcome(label_of(job), job.uid, SKIPPED, left_out.reason, put_off=left_out.is_old)
        if not (poison := self._poison(job)):
            return None
        return Outcome(label_of(job), job.uid, FAILED, f"quarantined after {poison}; please report it")

    def _poison(self, job: Job) -> str:
        """Return why a run is put aside, empty for any other run."""
        if self._trial is not None and (found := self._trial.journal.poison(job)):
            return found
        return self._retries.poison(job)

    async def _work_on(self, job: Job, raw: Mapping[str, Any], flow: FlowInForce, weight: int) -> bool:
        """Attest and mark a finished run; False if it will be looked at again."""
        # 1. No evidence is needed, or it is stored and only the mark is missing.
        if (decided := self._marker.unwritten(job) or self._decided(job, raw, flow)) is not None:
            await self._mark(job, raw, decided, flow)
            return True
        # 2. Attest what an earlier attempt attested, if there was one. Else freeze the run as it is now.
        recall = partial(self._recall, job, small=not weight)
        begun = await lean_json.one_by_one(recall) if weight else recall()
        attested, children = raw, Children()
        if begun is not None:
            attested, children = begun[0], Children(*begun[1:])
        try:
            if begun is None and job.kind == "PipelineRun":
                children = await self._child_runs.children(raw, weight)
            with span("snapshot"):
                freeze = partial(take_snapshot, attested, children.records, children.doubts)
                snapshot = await lean_json.one_by_one(freeze) if weight else freeze()
        except ClusterError:
            raise
        except ChainsError as error:
            await self._mark(job, raw, Outcome(label_of(job), job.uid, FAILED, str(error)), flow)
            return True
        # 3. A PipelineRun waits for its children.
        if children.there and self._waits_for_children and self._waits(job, raw, children, flow):
            return False
        # 4. Attest. After the last attempt, what cannot be read counts as unknown.
        is_last = job in self._retries.troubles and self._retries.is_too_late(job, raw)
        surroundings = await self._surroundings.read(snapshot, flow.config, give_up=is_last)
        longest = flow.config.storage.oci.wait_for_image
        left = self._patience.left(job, raw, longest, self._retries.held(job, raw))
        receipts = self._started_runs.receipts(job, flow.number)
        try:
            outcome = await self._attest(job, snapshot, surroundings, flow, receipts, waits=left > 0)
        except asyncio.CancelledError:
            # the run has to give way, and something may be stored already: the next turn attests the same
            flow.annotations.take(job.uid)
            self._started_runs.keep(job, attested, children.records, children.doubts, receipts, flow.number)
            raise
        # 5. Decide: try again later, wait for an image, or mark. The first two keep what was attested, and
        #    drop the annotations of the tekton store, which are written together with the mark.
        again = outcome.state == FAILED and outcome.may_pass and not self._retries.is_too_late(job, raw)
        waits = not again and await self._patience.may_wait(job, raw, outcome, left)
        if again or waits:
            flow.annotations.take(job.uid)
            self._started_runs.keep(
                job, attested, children.records, children.doubts, outcome.earlier, flow.number
            )
        if again:
            trouble = self._retries.trouble(job, raw)
            # a run that is being deleted gets its last attempt before it has to be released
            longest = max(0.0, LONGEST_HOLD - self._retries.held(job, raw)) + 1
            self._retries.again(job, trouble, outcome.reason, longest, hosts=outcome.hosts)
            if trouble.is_note_due(time.time()):
                await self._marker.patch(job, note_patch(raw["metadata"], trouble.note(time.time())))
            return False
        if waits:
            self._retries.forget(job)
            self._run_cache.outdate(job)
            await self._patience.wait(job, raw, attested, outcome, left)
            return False
        await self._mark(
            job, raw, self._patience.told(job, raw, outcome, longest, self._retries.held(job, raw)), flow
        )
        return True

    def _recall(
        self, job: Job, *, small: bool
    ) -> tuple[dict[str, Any], dict[RunKey, Any], dict[str, str]] | None:
        if small and (weight := self._started_runs.large_weight(job)):
            raise ObjectLarge("the run and its children take much memory together", weight)
        return self._started_runs.recall(job)

    def _waits(self, job: Job, raw: Mapping[str, Any], children: Children, flow: FlowInForce) -> bool:
        """Whether a finished PipelineRun waits until its children are marked, which it does for some
        minutes."""
        if self._retries.held(job, raw) > LONGEST_HOLD / 2:
            return False
        pending = {
            (name, str(metadata.get("uid")))
            for name, metadata in children.there.items()
            if not is_marked(metadata)
            and flow.config.selection.is_ours(children.records["TaskRun", job.namespace, name])
        }
        parent = (job.namespace, job.uid)
        if not pending or not self._child_runs.waits_for(parent, pending, lambda: self._work.hasten(job)):
            return False
        self._work.later(job, _WAIT_FOR_CHILDREN)
        return True

    async def _mark(self, job: Job, raw: Mapping[str, Any], outcome: Outcome, flow: FlowInForce) -> None:
        """Write the mark, and forget or hand on what was remembered of the run."""
        # a PATCH that is cut short may or may not have been written
        self._workers.let_finish(job)
        note(outcome_state=outcome.state)
        fail(outcome.reason if outcome.state == FAILED else "")
        with span("mark"):
            extra = flow.annotations.take(job.uid)
            await self._note_decision(job, raw, outcome, extra)
            # noted before the PATCH: the watch may report that the run left before the PATCH is answered
            self._losses.marking(job)
            decided = outcome
            try:
                outcome = await self._marker.mark(
                    job,
                    raw["metadata"],
                    outcome,
                    extra,
                    before=lambda other: self._note_decision(job, raw, other, extra, keep=decided),
                )
            except ObjectGone:
                self._losses.not_marked(job, is_due=outcome.state == FAILED)
                raise
            except BaseException:
                self._losses.not_marked(job)
                raise
        self._losses.marked(job)
        self._offer(job, outcome)
        self._run_cache.outdate(job)
        # a PipelineRun is nobody's child, and to unpack its many children would be in vain
        begun = self._started_runs.recall(job) if job.kind == "TaskRun" else None
        self._started_runs.forget(job)
        waited = self._patience.marked(job)
        self._surroundings.forget((job.namespace, job.uid), self._patience.family_of(job))
        if job.kind == "TaskRun":
            self._child_runs.keep(begun[0] if begun else raw)
            self._child_runs.marked(raw["metadata"])
        else:
            self._child_runs.forget((job.namespace, job.uid))
        ended = (raw.get("status") or {}).get("completionTime")
        # the time that a run waited for its image says nothing about the controller's latency
        since = time.time() - age(ended) if ended and not waited else None
        self._metrics.count(job.kind, job.namespace, outcome, since)
        is_poison = UNREADABLE in raw or bool(self._poison(job))
        if self._trial is not None:
            self._trial.journal.settled(job)
        if outcome.state == FAILED:
            self._metrics.quarantined.inc(is_poison)
            await self._marker.tell(
                job, "RunQuarantined" if is_poison else "AttestationFailed", outcome.reason
            )
        _log.info(
            "run is marked", extra={"run": label_of(job), "state": outcome.state, "reason": outcome.reason}
        )

    async def _note_decision(
        self,
        job: Job,
        raw: Mapping[str, Any],
        outcome: Outcome,
        extra: Mapping[str, str],
        keep: Outcome | None = None,
    ) -> None:
        """Write an outcome to the ledger, before the finalizer that holds the run is taken off.

        Raises :class:`LedgerError`; the next attempt writes and marks the same outcome, or ``keep``.
        """
        if not self._ledger.is_on:
            return
        self._workers.check(job, "the ledger was written")
        try:
            await self._ledger.decided(job, raw, outcome)
        except LedgerError:
            self._marker.put_off(job, keep or outcome, extra)
            raise

    async def _attest(
        self,
        job: Job,
        snapshot: RunSnapshot,
        surroundings: Mapping[str, Surroundings] | None,
        flow: FlowInForce,
        receipts: Earlier,
        *,
        waits: bool,
    ) -> Outcome:
        outcome = await flow.of(snapshot).attest(
            snapshot,
            surroundings,
            lambda: self._workers.check(job, "anything was stored"),
            earlier=receipts,
            waits=waits,
        )
        if outcome.error is not None:
            raise outcome.error  # it is counted: a run that breaks us again and again is put aside
        self._metrics.count_errors(job.namespace, outcome)
        return outcome
