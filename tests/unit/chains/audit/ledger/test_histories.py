"""Any history of facts, restarts and days: the ledger verifies, and says of each run what a plain model says."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from chains.audit.ledger.close import last_closed
from chains.audit.ledger.entries import EntryKind
from chains.audit.ledger.read import read_ledger
from chains.audit.ledger.writer import LogWriter
from tests.unit.chains.audit.ledger.made import LATER, ORIGIN, Clock, close_due, fact, listed, run, sealer_of

DECIDED = {"evidenced", "failed", "skipped"}
KINDS = ("seen", "finished", "evidenced", "failed", "skipped", "removed")
FACTS = st.tuples(st.sampled_from(KINDS), st.integers(0, 4))
STEPS = st.one_of(st.lists(FACTS, min_size=1, max_size=6), st.sampled_from(["restart", "day", "back"]))


class Model:
    """What a log should know of runs, without files.

    ``states`` is what a reader says. ``book`` has the open and pending runs of the writer, ``known`` the decisions that
    it remembers: after a restart those of the last closed day and later. A run whose decision is forgotten is seen again.
    """

    def __init__(self):
        self.states, self.book, self.known = {}, {}, {}

    def tell(self, kind, number, day):
        book, is_decision = self.book, kind in DECIDED
        if kind == "removed":
            if book.pop(number, None):
                self.states[number] = kind
        elif number in self.known and number not in book:
            if is_decision and self.known[number][0] != kind:
                self.known[number], self.states[number] = (kind, day), kind
        elif is_decision:
            book.pop(number, None)
            self.known[number], self.states[number] = (kind, day), kind
        else:
            book[number] = "pending" if kind == "finished" else book.get(number, "open")
            self.states[number] = book[number]

    def restart(self, closed):
        self.known = {one: told for one, told in self.known.items() if closed is None or told[1] >= closed}


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, max_size=10))
def test_any_history_verifies_and_says_what_a_plain_model_says(steps):
    with tempfile.TemporaryDirectory() as name:
        folder, clock, model = Path(name), Clock(), Model()
        sealer = sealer_of(folder)
        writer = LogWriter(folder / "log", ORIGIN, clock)
        for step in steps:
            if step == "restart":
                writer.close(ends=False)
                clock.move(minutes=1)
                writer = LogWriter(folder / "log", ORIGIN, clock)
                closed = last_closed(writer.log)
                model.restart(closed and closed.day)
            elif step == "day":
                clock.move(days=1)
                close_due(writer, sealer, clock.now)
            elif step == "back":
                clock.move(hours=-1)
            else:
                facts = [fact(EntryKind(kind), number) for kind, number in step]
                assert writer.append(facts) == [None] * len(facts)
                for kind, number in step:
                    model.tell(kind, number, (writer.log.days() or [None])[-1])
        expected = {run(number).uid: state for number, state in model.states.items()}
        values = list(model.book.values())
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
