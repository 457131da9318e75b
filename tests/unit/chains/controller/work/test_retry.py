import json
from typing import Any

import pytest

from chains.controller.marks.patches import OUTCOME_ANNOTATION
from chains.controller.work.retry import Trouble, recall

NOW = 1_780_000_000.0


def noted(**fields: Any) -> dict[str, Any]:
    return {"annotations": {OUTCOME_ANNOTATION: json.dumps({"state": "retrying", **fields})}}


def test_what_was_noted_is_recalled() -> None:
    trouble = Trouble(NOW - 7200, attempts=9, reason="registry is away")
    assert trouble.is_note_due(NOW)
    text = trouble.note(NOW)
    assert not trouble.is_note_due(NOW + 3599)
    assert trouble.is_note_due(NOW + 3601)
    found = recall({"annotations": {OUTCOME_ANNOTATION: text}}, NOW + 10, NOW - 9000)
    assert (found.since, found.attempts) == (NOW - 7200, 9)
    assert not found.is_note_due(NOW + 20)


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"annotations": None},
        {"annotations": {OUTCOME_ANNOTATION: "no json"}},
        {"annotations": {OUTCOME_ANNOTATION: "[]"}},
        {"annotations": {OUTCOME_ANNOTATION: '"x"'}},
        {"annotations": {OUTCOME_ANNOTATION: '{"state":"signed","since":"2026-01-01T00:00:00Z"}'}},
        noted(),
        noted(since="2090-01-01T00:00:00Z"),
        noted(since="2001-01-01T00:00:00Z"),
        noted(since="2026-05-28T20:26:40Z", attempts="many"),
        noted(since=7),
    ],
)
def test_what_no_controller_noted_does_not_count(metadata: dict[str, Any]) -> None:
    found = recall(metadata, NOW, NOW - 600)
    assert (found.since, found.attempts) == (NOW, 0)


def test_pauses_grow_to_ten_minutes_and_no_further() -> None:
    pauses = [Trouble(NOW, attempts=attempts).delay() for attempts in (0, 3, 10, 10_000)]
    assert 0.7 <= pauses[0] <= 1.3
    assert 5 <= pauses[1] <= 11
    assert all(420 <= pause <= 780 for pause in pauses[2:])


def test_a_short_trouble_is_not_noted() -> None:
    assert not Trouble(NOW - 30).is_note_due(NOW)
