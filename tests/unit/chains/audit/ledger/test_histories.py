"""Any history of facts, restarts and days: the ledger verifies, and says of each run what a plain model says."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from chains.audit.ledger.entries import DECISIONS, EntryKind
from chains.audit.ledger.read import read_ledger
from chains.audit.ledger.writer import LogWriter
from tests.unit.chains.audit.ledger.made import LATER, ORIGIN, Clock, close_due, fact, listed, run, sealer_of

KINDS = ("seen", "finished", "evidenced", "failed", "skipped", "removed")
FACTS = st.tuples(st.sampled_from(KINDS), st.integers(0, 4))
STEPS = st.one_of(st.lists(FACTS, min_size=1, max_size=6), st.sampled_from(["restart", "day", "back"]))


def told(states, kind, number):
    """Change the state of a run as a fact does, in a model without files."""
    state = states.get(number)
    decided = state in {each.value for each in DECISIONS}
    if kind == "removed":
        if state in {"open", "pending"}:
            states[number] = "removed"
    elif kind == "seen":
        if state in {None, "removed"}:
            states[number] = "open"
    elif kind == "finished":
        if not decided:
            states[number] = "pending"
    else:
        states[number] = kind


@settings(max_examples=25)
@given(st.lists(STEPS, max_size=10))
def test_any_history_verifies_and_says_what_a_plain_model_says(steps):
    with tempfile.TemporaryDirectory() as name:
        folder, clock, states = Path(name), Clock(), {}
        sealer = sealer_of(folder)
        writer = LogWriter(folder / "log", ORIGIN, clock)
        for step in steps:
            if step == "restart":
                writer.close(ends=False)
                clock.move(minutes=1)
                writer = LogWriter(folder / "log", ORIGIN, clock)
            elif step == "day":
                clock.move(days=1)
                close_due(writer, sealer, clock.now)
            elif step == "back":
                clock.move(hours=-1)
            else:
                facts = [fact(EntryKind(kind), number) for kind, number in step]
                assert writer.append(facts) == [None] * len(facts)
                for kind, number in step:
                    told(states, kind, number)
        expected = {run(number).uid: state for number, state in states.items()}
        values = list(states.values())
        assert (writer.opened, writer.pending) == (values.count("open"), values.count("pending"))
        writer.close(ends=False)
        clock.move(days=2)
        if (folder / "log").exists():
            again = LogWriter(folder / "log", ORIGIN, clock)
            close_due(again, sealer, clock.now)
            again.close(ends=False)
        state = read_ledger(folder / "log", listed(sealer), LATER)
        assert state.problems == ()
        assert {uid: one.state.value for uid, one in state.runs.items()} == expected
        assert all(day.verified for day in state.days if day.is_closed)
