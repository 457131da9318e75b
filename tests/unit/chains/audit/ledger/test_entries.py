"""Entries: one line of canonical JSON each, the same after a second writing, and nothing else is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.audit.ledger.entries import (
    OF_RUNS,
    Configured,
    Disposition,
    EntryKind,
    Exemption,
    GapEntry,
    Heartbeat,
    Keys,
    Receipt,
    Run,
    RunEntry,
    fit,
    fit_reason,
)
from chains.audit.ledger.errors import LedgerError
from chains.audit.ledger.lines import LONGEST_LINE, parse_entry, write_entry

AT = datetime(2026, 11, 29, 20, 0, 0, 123456, UTC)
RUN = Run("TaskRun", "ci", "build", "8c2c0a3e-0000-4000-8000-000000000001")

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
TIMES = st.datetimes(datetime(1971, 1, 1), datetime(2999, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
RUNS = st.builds(Run, TEXT, TEXT, TEXT, TEXT.filter(bool), TEXT)
RECEIPTS = st.lists(st.builds(Receipt, TEXT, TEXT, TEXT, TEXT, TEXT, TEXT), max_size=3).map(tuple)
ENTRIES = st.one_of(
    st.builds(
        RunEntry,
        TIMES,
        st.sampled_from(sorted(OF_RUNS)),
        RUNS,
        TEXT,
        TEXT,
        st.sampled_from([None, True, False]),
        TEXT,
        RECEIPTS,
        st.booleans(),
    ),
    st.builds(GapEntry, TIMES, TIMES, TIMES, TEXT),
    st.builds(Heartbeat, TIMES, st.integers(0, 2**53), st.integers(0, 2**53), st.booleans()),
    st.builds(Configured, TIMES, TEXT, st.lists(TEXT, max_size=3).map(tuple)),
    st.builds(Keys, TIMES, st.lists(TEXT, max_size=3).map(tuple), TEXT),
    st.builds(Exemption, TIMES, TEXT, TEXT, TEXT, TEXT),
    st.builds(Disposition, TIMES, TEXT, TEXT, TEXT, TEXT, TEXT),
)


@given(ENTRIES)
def test_an_entry_is_read_as_it_was_written(entry):
    line = write_entry(entry)
    assert parse_entry(line) == entry
    assert write_entry(parse_entry(line)) == line
    assert b"\n" not in line


def test_an_entry_is_sorted_json_without_white_space_and_empty_members():
    entry = RunEntry(AT, EntryKind.FINISHED, RUN, completed="2026-11-29T19:59:58Z", succeeded=False)
    assert write_entry(entry) == (
        b'{"at":"2026-11-29T20:00:00.123456Z","completed":"2026-11-29T19:59:58Z","kind":"finished",'
        b'"run":{"kind":"TaskRun","name":"build","namespace":"ci",'
        b'"uid":"8c2c0a3e-0000-4000-8000-000000000001"},"succeeded":false}'
    )


def test_a_count_of_zero_is_written():
    assert orjson.loads(write_entry(Heartbeat(AT, 0, 0))) == {
        "at": "2026-11-29T20:00:00.123456Z",
        "kind": "heartbeat",
        "open": 0,
        "pending": 0,
    }


def test_a_time_of_another_zone_is_written_in_utc():
    later = AT.astimezone(tz=datetime.fromisoformat("2026-01-01T00:00:00+05:30").tzinfo)
    assert write_entry(Heartbeat(later, 0, 0)) == write_entry(Heartbeat(AT, 0, 0))


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'{"at":"2026-11-29T20:00:00.123456Z"}', id="no kind"),
        pytest.param(b'{"at":"2026-11-29T20:00:00.123456Z","kind":"noted"}', id="unknown kind"),
        pytest.param(b'{"at":"2026-11-29T20:00:00.123456Z","kind":"seen"}', id="no run"),
        pytest.param(b'{"at":"2026-11-29T20:00:00.123456Z","kind":["seen"]}', id="a kind that is a list"),
        pytest.param(
            b'{"at":"2026-11-29T20:00:00.123456Z","kind":"heartbeat","open":-1,"pending":0}', id="negative"
        ),
        pytest.param(
            b'{"at":"2026-11-29T20:00:00.123456Z","kind":"heartbeat","open":true,"pending":0}', id="true"
        ),
        pytest.param(
            b'{"at":"2026-11-29T20:00:00Z","kind":"heartbeat","open":0,"pending":0}', id="whole seconds"
        ),
        pytest.param(
            b'{"at":"2026-13-29T20:00:00.123456Z","kind":"heartbeat","open":0,"pending":0}', id="month 13"
        ),
        pytest.param(
            b'{"at":"2026-11-29T20:00:00.123456Z","kind":"seen","run":{"kind":"","name":"","namespace":"",'
            b'"uid":""}}',
            id="no uid",
        ),
        pytest.param(
            b'{"at":"2026-11-29T20:00:00.123456Z","kind":"heartbeat","open":0,"pending":0,"x":1}',
            id="unknown",
        ),
        pytest.param(
            b'{"at":"2026-11-29T20:00:00.123456Z","kind":"heartbeat","open":0,"open":0,"pending":0}',
            id="twice",
        ),
        pytest.param(
            b'{"at": "2026-11-29T20:00:00.123456Z","kind":"heartbeat","open":0,"pending":0}', id="a blank"
        ),
        pytest.param(
            b'{"kind":"heartbeat","at":"2026-11-29T20:00:00.123456Z","open":0,"pending":0}', id="not sorted"
        ),
        pytest.param(
            b'{"at":"2026-11-29T20:00:00.123456Z","ends":false,"kind":"heartbeat","open":0,"pending":0}',
            id="a member that is empty",
        ),
    ],
)
def test_a_line_in_any_other_form_is_refused(line):
    with pytest.raises(LedgerError, match="entry"):
        parse_entry(line)


def test_an_entry_is_bounded_when_it_is_written_and_when_it_is_read():
    long = RunEntry(AT, EntryKind.FAILED, RUN, reason="x" * LONGEST_LINE)
    with pytest.raises(LedgerError, match="at most 65536"):
        write_entry(long)
    with pytest.raises(LedgerError, match="at most 65536"):
        parse_entry(b" " * (LONGEST_LINE + 1))


def test_text_that_no_json_can_hold_is_refused_and_fits_after_it_was_escaped():
    with pytest.raises(LedgerError, match="cannot be written"):
        write_entry(RunEntry(AT, EntryKind.FAILED, RUN, reason="\ud800"))
    entry = RunEntry(AT, EntryKind.FAILED, RUN, reason=fit_reason("a\nb \ud800 \u202e \x00"))
    assert entry.reason == r"a\nb \ud800 \u202e \x00"
    assert parse_entry(write_entry(entry)) == entry


def test_names_and_reasons_fit_and_show_no_secret():
    assert len(fit("\x00" * 5000)) == 300
    assert len(fit_reason("x" * 5000)) == 300
    assert "hunter2" not in fit_reason("PUT https://user:hunter2@registry.example/v2/: 500")


def test_a_time_without_zone_is_refused():
    with pytest.raises(ValueError, match="without zone"):
        write_entry(Heartbeat(AT.replace(tzinfo=None) + timedelta(0), 0, 0))
