"""What a report says beside the runs: figures, ledgers, policies, prices, the program."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from chains.audit.compare import Period
from chains.audit.ledger.entries import Configured, Disposition, Exemption, Keys
from chains.audit.ledger.read import read_ledger
from chains.audit.ledger.writer import LogWriter
from chains.errors import InputError
from chains.report.gather.figures import Figures, quantile
from chains.report.gather.ledgers import LedgerFacts, ledger_facts
from chains.report.gather.prices import Prices, read_prices
from chains.report.gather.program import this_program
from tests.unit.chains.audit.ledger.made import ORIGIN, START, Clock, close_due, listed, sealer_of
from tests.unit.chains.report.made import gathered, small_world

ROOT = Path(__file__).parents[4]


def a_run(pipeline: str | None = "release", outcome: str | None = "succeeded") -> Any:
    return {"finished": "2026-10-01T00:00:00Z", "outcome": outcome, "pipeline": pipeline}


def facts(**given: Any) -> Any:
    names = (
        "created", "started", "finished", "podWait", "stepWait", "attempts", "cpu", "memory", "event", "trigger",
        "imageNotGiven", "completeness",
    )  # fmt: skip
    return dict.fromkeys(names) | given


def values(figures: Figures, name: str) -> dict[str, int | str | None]:
    (found,) = [one for one in figures.all() if one["id"] == name]
    assert found["limit"]
    return {one["name"]: one["value"] for one in found["values"]}


def test_of_no_run_every_figure_is_unknown_and_none_is_zero() -> None:
    figures = Figures(None)
    for one in figures.all():
        assert one["known"] == one["of"] == 0
        assert all(value["value"] is None for value in one["values"] if value["name"] != "not known"), one[
            "id"
        ]


def test_the_success_rate_leaves_out_what_was_cancelled() -> None:
    figures = Figures(None)
    for outcome in (*("succeeded",) * 7, *("failed",) * 2, "cancelled", "timed-out", None):
        figures.add(a_run(outcome=outcome), facts())
    assert values(figures, "success-rate") == {
        "rate": "77.7", "succeeded": 7, "failed": 2, "cancelled": 1, "timed-out": 1, "not known": 1,
    }  # fmt: skip


def test_durations_and_waits_are_quantiles_of_what_is_known() -> None:
    figures = Figures(None)
    for number in range(1, 101):
        figures.add(a_run(), facts(created=0, started=10, finished=10 + number, podWait=number))
    figures.add(a_run(), facts(created=0, started=20, finished=5))
    assert values(figures, "duration") == {"p50": 50, "p95": 95}
    waits = values(figures, "queue-wait")
    assert (waits["in the controller, p50"], waits["for a pod, p95"]) == (10, 95)
    assert waits["for the first step, p50"] is None
    assert [quantile([5], share) for share in (50, 95)] == [5, 5]
    assert quantile([], 50) is None


def test_retries_images_triggers_and_completeness_are_counted() -> None:
    figures = Figures(None)
    figures.add(a_run(), facts(attempts=2, imageNotGiven=True, event="e1", trigger="el/t"))
    figures.add(a_run(), facts(attempts=0, imageNotGiven=False, event="e1", trigger="el/t"))
    figures.add(a_run(), facts(completeness=[True, False, True, False]))
    assert values(figures, "restarts") == {"runs tried again": 1, "earlier attempts": 2}
    assert values(figures, "image-push-failures") == {"runs": 1}
    assert values(figures, "trigger-delivery") == {"runs with a trigger": 2, "events": 1}
    assert list(values(figures, "provenance-completeness").values()) == [1, 0, 1, 0]


def test_requested_cost_is_requests_times_prices() -> None:
    prices = Prices("EUR", Decimal("0.03"), Decimal("0.004"), "sha256:00")
    figures = Figures(prices)
    # two CPUs for an hour, and 4 GiB for half an hour
    figures.add(a_run(), facts(cpu=2000 * 3600, memory=4 * 1024 * 1800))
    figures.add(a_run(), facts())
    assert values(figures, "requested-cost") == {
        "CPU": "2.0000", "memory": "2.0000", "requested cost": "0.0680",
    }  # fmt: skip
    without = Figures(None)
    without.add(a_run(), facts(cpu=1000, memory=1))
    assert values(without, "requested-cost")["requested cost"] is None


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ('{"currency": "EUR", "cpuHour": "x", "memoryGiBHour": 1}', "cpuHour: expected a price"),
        ('{"currency": "EUR", "cpuHour": -1, "memoryGiBHour": 1}', "cpuHour: expected a price"),
        ('{"currency": "EUR", "cpuHour": "Infinity", "memoryGiBHour": 1}', "cpuHour: expected a price"),
        ('{"currency": 3, "cpuHour": 1, "memoryGiBHour": 1}', "currency: expected a word"),
        ('{"currency": "EUR", "cpuHour": 1}', "expected the members"),
        ("[]", "expected the members"),
    ],
)
def test_a_wrong_price_table_is_told(tmp_path: Path, table: str, told: str) -> None:
    path = tmp_path / "prices.json"
    path.write_text(table)
    with pytest.raises(InputError, match=told):
        read_prices(path)


def test_a_price_table_is_cited_by_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "prices.json"
    path.write_text('{"currency": "EUR", "cpuHour": "0.03", "memoryGiBHour": 0.004}')
    found = read_prices(path)
    assert found.digest == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    assert (found.cpu_hour, found.memory_hour) == (Decimal("0.03"), Decimal("0.004"))


def test_a_ledger_says_what_changed_and_who_approved(tmp_path: Path) -> None:
    clock, sealer = Clock(), sealer_of(tmp_path)
    writer = LogWriter(tmp_path / "ledger", ORIGIN, clock)
    entries = [
        Configured(START, "sha256:" + "c1" * 32, ("storage.oci",)),
        Keys(START, ("SHA256:b", "SHA256:a"), "SHA256:ledger"),
        Exemption(START, "team-a", "jane", "migration", "2025-12-01T00:00:00Z"),
        Exemption(START, "team-b", "joe", "old", "2025-11-26T09:00:00Z"),
        Disposition(START, "sha256:" + "d1" * 32, "s3://evidence/1", "records", "period over", "uid-1"),
    ]
    assert not any(writer.append(entries))
    clock.move(days=1)
    assert close_due(writer, sealer, clock.now)
    assert not any(writer.append([Configured(START, "sha256:" + "c2" * 32)]))
    writer.close()
    now = datetime(2025, 11, 28, tzinfo=UTC)
    state = read_ledger(tmp_path / "ledger", listed(sealer), now)
    found = ledger_facts([state], Period(datetime(2025, 11, 26, tzinfo=UTC), now), now)
    assert found is not None
    assert [(one["digest"][:9], one["changed"], one["signed"]) for one in found.changes] == [
        ("sha256:c1", ["storage.oci"], True),
        ("sha256:c2", [], False),
    ]
    assert [(one["signers"], one["ledger"]) for one in found.keys] == [
        (["SHA256:a", "SHA256:b"], "SHA256:ledger")
    ]
    assert [(one["what"], one["approver"], one["until"], one["isOver"]) for one in found.exemptions] == [
        ("team-a", "jane", "2025-12-01T00:00:00Z", False),
        ("team-b", "joe", "2025-11-26T09:00:00Z", True),
    ]
    assert [(one["by"], one["reason"], one["uid"]) for one in found.dispositions] == [
        ("records", "period over", "uid-1")
    ]
    (head,) = found.heads
    assert (head["firstDay"], head["day"], head["days"], head["notClosed"]) == (
        "2025-11-26", "2025-11-26", 1, 1,
    )  # fmt: skip
    later = Period(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    after = ledger_facts([state], later, now)
    assert after is not None
    assert (after.changes, after.keys, after.exemptions, after.dispositions) == ([], [], [], [])
    assert ledger_facts([], later, now) is None


def test_exemptions_and_deletions_in_no_signed_day_are_told_apart(tmp_path: Path) -> None:
    clock, sealer = Clock(), sealer_of(tmp_path)
    writer = LogWriter(tmp_path / "ledger", ORIGIN, clock)
    entries = [
        Exemption(START, "team-a", "jane", "migration", "2025-12-01T00:00:00Z"),
        Disposition(START, "sha256:" + "d1" * 32, "s3://evidence/1", "records", "period over", "uid-1"),
    ]
    now = datetime(2025, 11, 28, tzinfo=UTC)
    assert not any(writer.append(entries))
    before = ledger_facts([read_ledger(tmp_path / "ledger", listed(sealer), now)], Period(), now)
    clock.move(days=1)
    assert close_due(writer, sealer, clock.now)
    assert not any(writer.append([Exemption(START, "team-b", "mallory", "none", "")]))
    writer.close()
    after = ledger_facts([read_ledger(tmp_path / "ledger", listed(sealer), now)], Period(), now)
    assert before is not None
    assert after is not None
    assert (before.unsigned, len(before.exemptions), len(before.dispositions)) == (2, 1, 1)
    assert (after.unsigned, len(after.exemptions), len(after.dispositions)) == (1, 2, 1)


def test_a_report_says_that_what_no_signed_day_has_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    world = small_world(tmp_path / "world")
    for unsigned, told in ((0, []), (2, ["who wrote 2 entries about exemptions and deletions"])):
        found = gathered(world, ledgers=LedgerFacts(unsigned=unsigned)).head["unknown"]
        assert [one["what"] for one in found if one["what"].startswith("who wrote")] == told


def test_the_digest_of_the_program_is_that_of_its_files() -> None:
    lines = []
    for package in ("chains", "signers", "storage"):
        for path in sorted((ROOT / package).rglob("*")):
            if path.is_file() and path.suffix not in {".pyc", ".pyo"}:
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                lines.append(f"{digest}  {path.relative_to(ROOT).as_posix()}\n")
    found = this_program()
    assert found["digest"] == f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"
    assert found["version"]
