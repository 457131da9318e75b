from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chains.config.selection import Selection, parse_labels, parse_since

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LABELS = {"team": "a", "tier": "web", "example.com/x": ""}


@pytest.mark.parametrize(
    ("selector", "holds"),
    [
        ("", True),
        ("team=a", True),
        ("team==a", True),
        ("team = b", False),
        ("team!=b", True),
        ("absent!=b", True),
        ("team in (b, a)", True),
        ("team notin (b,a)", False),
        ("absent notin (b)", True),
        ("absent in (b)", False),
        ("tier", True),
        ("!tier", False),
        ("! absent", True),
        ("example.com/x=", True),
        ("team=a,tier in (web,db),!absent", True),
        ("team=a,tier=db", False),
    ],
)
def test_a_selector_means_what_it_means_to_kubectl(selector: str, *, holds: bool) -> None:
    assert all(matches(LABELS) for matches in parse_labels(selector)) is holds


@pytest.mark.parametrize(
    "selector", ["a b", "a in b", "a in (b", "=x", "a=b=c", "a,,b", "a in (b c)", ",", "a>1"]
)
def test_what_is_no_selector_is_refused(selector: str) -> None:
    with pytest.raises(ValueError, match="no requirement"):
        parse_labels(selector)


def test_a_cut_off_is_a_time_or_an_age() -> None:
    assert parse_since("36h", NOW) == NOW - timedelta(hours=36)
    assert parse_since("2026-01-31T00:00:00Z", NOW) == datetime(2026, 1, 31, tzinfo=UTC)
    assert parse_since("2026-01-31", NOW) == datetime(2026, 1, 31, tzinfo=UTC)
    for text in ("", "yesterday", "d", "99999999999999d", "²d"):
        with pytest.raises(ValueError, match=r"is longer ago than times reach|Invalid isoformat string"):
            parse_since(text, NOW)


def raw(ended: str = "2026-05-31T00:00:00Z", **metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata, "spec": {}, "status": {"completionTime": ended}}


@pytest.mark.parametrize(
    ("selection", "run", "reason"),
    [
        (Selection(), raw(), ""),
        (Selection(), raw(labels={"skip": "true"}), ""),
        (Selection(skip="skip"), raw(labels={"skip": "true"}), "filter.skip"),
        (Selection(skip="skip"), raw(annotations={"skip": "true"}), "filter.skip"),
        (Selection(skip="skip"), raw(annotations={"skip": "false"}), ""),
        (Selection(labels="team=a"), raw(labels={"team": "a"}), ""),
        (Selection(labels="team=a"), raw(), "filter.labels"),
        (Selection(since="7d"), raw(), ""),
        (Selection(since="1h"), raw(), "backlog.since"),
        (Selection(since="1h"), raw("no time"), ""),
    ],
)
def test_a_run_is_left_out_for_a_reason(selection: Selection, run: dict[str, Any], reason: str) -> None:
    found = selection.left_out(run, NOW)
    assert (found is not None) is bool(reason)
    if found is not None:
        assert reason in found.reason
        assert found.is_old is (reason == "backlog.since")


def test_only_runs_of_our_managers_are_ours() -> None:
    for manager, ours in (
        ("", True), ("tekton.dev/pipeline", True), ("mine", True), ("kueue.x-k8s.io/multikueue", False),
    ):  # fmt: skip
        run = {"spec": {"managedBy": manager}}
        assert Selection(managed_by=frozenset({"mine"})).is_ours(run) is ours
    assert Selection().is_ours({"spec": None})
