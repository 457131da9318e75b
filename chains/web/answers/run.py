"""A run: what the index knows of it, and all attestations that name it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chains.index.codes import Verdict
from chains.index.query.detail.evidence import Details, details_of, inputs_of, positions_of_run
from chains.index.query.detail.runs import Run, Step, run_of, runs_named, runs_of, steps_of
from chains.index.query.rows import Hit, Subject, hits
from chains.index.query.scope import View
from chains.index.query.state import IndexState, state_of
from chains.statements.statement import SCAI
from chains.web.answers.artifact import PROVENANCE, UsedInput, used_inputs

MOST = 60
"""Attestations of one run that are shown."""


@dataclass(frozen=True, slots=True)
class RunAnswer:
    """A run with its attestations, the newest first. ``run`` is None if the index has none.

    ``products`` are the artifacts of confirmed provenance. ``namesakes`` are other runs with its name.
    """

    run: Run | None
    hits: tuple[Hit, ...]
    details: dict[int, Details]
    steps: tuple[Step, ...]
    inputs: tuple[UsedInput, ...]
    products: tuple[Subject, ...]
    namesakes: tuple[Run, ...]
    state: IndexState

    @property
    def main(self) -> list[Hit]:
        """The confirmed provenance and report whose statements are read: one of each type and signer."""
        found: dict[tuple[str, str], Hit] = {}
        for hit in self.hits:
            if hit.verdict is Verdict.VERIFIED and (hit.predicate in PROVENANCE or hit.predicate == SCAI):
                found.setdefault((hit.predicate, hit.signer), hit)
        return list(found.values())[:6]


def run_answer(view: View, uid: str) -> RunAnswer:
    """Return what an index has about a run."""
    run = run_of(view, uid)
    state = state_of(view)
    if run is None:
        return RunAnswer(None, (), {}, (), (), (), (), state)
    found = hits(view, positions_of_run(view, run.id, MOST))
    ids = [hit.position.id for hit in found]
    provenance = [one for one in found if one.predicate in PROVENANCE and one.verdict is Verdict.VERIFIED]
    products = dict.fromkeys(
        one for hit in provenance or found for one in hit.subjects if one.name != f"{run.kind}/{run.path}"
    )
    namesakes = [one for one in runs_named(view, run.namespace, run.name) if one.uid != run.uid]
    return RunAnswer(
        run,
        tuple(found),
        details_of(view, ids),
        tuple(steps_of(view, run)),
        used_inputs(view, inputs_of(view, [one.position.id for one in provenance[:2]])) if provenance else (),
        tuple(products),
        tuple(namesakes),
        state,
    )


def known_runs(view: View, uids: Sequence[str]) -> dict[str, Run]:
    """Return the runs with these UIDs that may be seen."""
    return runs_of(view, list(uids)[:500])
