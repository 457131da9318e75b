"""What has to be told from round to round, with a clock of the test's own."""

from __future__ import annotations

from datetime import datetime

import pytest

from chains.preflight.answer import ImageCheck
from chains.recheck.standing import Change, Standing, Standings
from chains.tekton.workloads import Workload
from storage.base import Store
from tests.faults.verify.forge import DIGEST, IMAGE, NOW, Broken, Shelf, form_b
from tests.unit.chains.policy.made import REF, document, tekton, trust
from tests.unit.chains.preflight.made import OTHER_REF
from tests.unit.chains.recheck.made import HOUR, OWNER, checks_of, pod

GOOD, EMPTY, AWAY = Shelf(form_b(tekton())), Shelf(), Broken()
NEXT = Workload("ReplicaSet", "shop", "web-2", "apps/v1", "u-2")


class Rounds:
    """Rounds an hour apart; what has to be told is told, unless ``telling`` is off."""

    def __init__(self) -> None:
        self.standings, self.at, self.telling = Standings(), NOW, True

    def take(self, checks: list[ImageCheck]) -> list[Change]:
        self.at += HOUR
        changes = self.standings.take(checks, self.at)
        for change in changes if self.telling else ():
            for workload in change.workloads:
                self.standings.tell(change, workload)
        return changes

    def round(self, store: Store, *images: str, owners: tuple[Workload, ...] = (OWNER,)) -> list[Change]:
        pods = [pod(*(images or (REF,)), name=f"{owner.name}-x", owner=owner) for owner in owners]
        return self.take(checks_of(*pods, stores=[store]))

    def count(self, standing: Standing) -> int:
        return self.standings.counts()[standing]


def shown(changes: list[Change]) -> list[tuple[bool, bool, datetime, list[str]]]:
    return [
        (one.fails, one.has_passed, one.since, [workload.name for workload in one.workloads])
        for one in changes
    ]


@pytest.fixture
def rounds() -> Rounds:
    return Rounds()


def test_an_image_that_passes_is_never_told(rounds: Rounds) -> None:
    assert [rounds.round(GOOD) for _ in range(3)] == [[], [], []]
    assert rounds.standings.counts() == {
        Standing.PASSES: 1,
        Standing.FAILS: 0,
        Standing.UNDECIDED: 0,
        Standing.SKIPPED: 0,
    }


def test_a_failure_is_told_once_with_its_time_and_so_is_its_end(rounds: Rounds) -> None:
    rounds.round(GOOD)
    began = rounds.at + HOUR
    assert shown(rounds.round(EMPTY)) == [(True, True, began, ["web-1"])]
    assert rounds.count(Standing.FAILS) == 1
    assert rounds.round(EMPTY) == []
    assert shown(rounds.round(GOOD)) == [(False, True, began, ["web-1"])]
    assert rounds.count(Standing.PASSES) == 1
    assert rounds.round(GOOD) == []
    # it fails anew
    assert shown(rounds.round(EMPTY)) == [(True, True, rounds.at, ["web-1"])]


def test_an_image_that_never_passed_is_told_as_such(rounds: Rounds) -> None:
    assert shown(rounds.round(EMPTY)) == [(True, False, rounds.at, ["web-1"])]
    assert rounds.round(EMPTY) == []


def test_an_exemption_that_ends_is_told_though_nothing_else_changed(rounds: Rounds) -> None:
    end = NOW + 2 * HOUR
    exemption = {
        "image": f"{IMAGE}@{DIGEST}",
        "rules": ["evidence"],
        "reason": "built before attestation",
        "reference": "INC-1",
        "until": end.isoformat().replace("+00:00", "Z"),
    }
    exempt = document(exemptions=[exemption])

    def look(at: datetime) -> list[Change]:
        return rounds.take(checks_of(pod(REF), stores=[EMPTY], policies=[exempt], now=at))

    assert look(end - HOUR) == []
    assert rounds.count(Standing.PASSES) == 1
    (change,) = look(end + HOUR)
    assert (change.fails, change.has_passed) == (True, True)


def test_a_policy_that_demands_more_is_told(rounds: Rounds) -> None:
    assert rounds.take(checks_of(pod(REF), stores=[GOOD], policies=[document()])) == []
    stricter = document(trust=[trust("tekton", "other")])
    (change,) = rounds.take(checks_of(pod(REF), stores=[GOOD], policies=[stricter]))
    assert (change.fails, change.has_passed, change.check.reason) == (True, True, "key_unknown")


def test_what_could_not_be_decided_is_not_told_and_changes_nothing(rounds: Rounds) -> None:
    rounds.round(GOOD)
    assert rounds.round(AWAY) == []
    assert rounds.count(Standing.UNDECIDED) == 1
    began = rounds.at + HOUR
    assert shown(rounds.round(EMPTY)) == [(True, True, began, ["web-1"])]
    assert rounds.round(AWAY) == []
    # it failed, and nobody has said that it passes
    assert (rounds.count(Standing.FAILS), rounds.count(Standing.UNDECIDED)) == (1, 0)
    assert rounds.round(EMPTY) == []
    assert shown(rounds.round(GOOD)) == [(False, True, began, ["web-1"])]


def test_a_further_workload_of_a_failing_image_is_told_too_and_the_others_not_again(rounds: Rounds) -> None:
    rounds.round(EMPTY)
    began = rounds.at
    assert shown(rounds.round(EMPTY, owners=(OWNER, NEXT))) == [(True, False, began, ["web-2"])]
    assert rounds.round(EMPTY, owners=(OWNER, NEXT)) == []
    # the end is told to those that still run it
    assert shown(rounds.round(GOOD, owners=(NEXT,))) == [(False, True, began, ["web-2"])]


def test_what_could_not_be_told_is_told_by_the_next_round(rounds: Rounds) -> None:
    rounds.telling = False
    assert shown(rounds.round(EMPTY)) == shown(rounds.round(EMPTY)) == [(True, False, NOW + HOUR, ["web-1"])]
    rounds.telling = True
    assert len(rounds.round(EMPTY)) == 1
    assert rounds.round(EMPTY) == []


def test_the_end_of_a_failure_that_was_never_told_is_not_told(rounds: Rounds) -> None:
    rounds.telling = False
    rounds.round(EMPTY)
    assert rounds.round(GOOD) == []


def test_an_image_that_no_longer_runs_is_forgotten(rounds: Rounds) -> None:
    rounds.round(EMPTY, REF, OTHER_REF)
    assert rounds.count(Standing.FAILS) == 2
    assert rounds.round(EMPTY) == []
    assert sum(rounds.standings.counts().values()) == 1
    assert len(rounds.round(EMPTY, REF, OTHER_REF)) == 1


def test_an_image_written_in_two_ways_stays_one(rounds: Rounds) -> None:
    rounds.round(EMPTY)
    assert rounds.round(EMPTY, f"{IMAGE}:v1@{DIGEST}") == []


def test_an_image_that_policies_are_no_longer_for_is_skipped_and_its_failure_ends_in_silence(
    rounds: Rounds,
) -> None:
    rounds.round(EMPTY)
    elsewhere = document(images=["registry.example.com/elsewhere"])
    assert rounds.take(checks_of(pod(REF), policies=[elsewhere])) == []
    assert (rounds.count(Standing.SKIPPED), rounds.count(Standing.FAILS)) == (1, 0)
    # policies are for it again, and it still does not pass
    assert shown(rounds.round(EMPTY)) == [(True, False, rounds.at, ["web-1"])]


def test_another_process_begins_with_nothing(rounds: Rounds) -> None:
    rounds.round(EMPTY)
    rounds.standings.forget()
    assert sum(rounds.standings.counts().values()) == 0
    assert len(rounds.round(EMPTY)) == 1
