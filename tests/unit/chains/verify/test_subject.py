"""What a statement is about, compared by digest alone, and told in few words."""

from __future__ import annotations

import pytest

from chains.statements.statement import SLSA_V1, STATEMENT_V1, ResourceDescriptor, Statement
from chains.verify.reasons import Reason, Result
from chains.verify.subject import Authentic, DigestWanted, NothingWanted, spell
from chains.verify.verdict import Check
from tests.faults.verify.forge import HEX, OTHER


def about(*digests: dict[str, str]) -> Authentic:
    subjects = tuple(ResourceDescriptor(name=f"s{number}", digest=one) for number, one in enumerate(digests))
    return Authentic(Statement(STATEMENT_V1, subjects, SLSA_V1, {}), b"")


@pytest.mark.parametrize(
    ("wanted", "found", "matches"),
    [
        ({"sha256": HEX}, [{"sha256": HEX}], True),
        ({"sha256": HEX}, [{"sha256": OTHER}, {"sha256": HEX}], True),
        ({"sha256": HEX}, [{"sha256": HEX, "sha512": "x"}], True),
        ({"sha256": HEX, "sha512": "x"}, [{"sha256": HEX}], True),
        ({"sha256": HEX, "sha512": "x"}, [{"sha256": HEX, "sha512": "y"}], False),
        ({"sha256": HEX, "sha512": "x"}, [{"sha256": OTHER, "sha512": "x"}], False),
        ({"sha256": HEX}, [{"sha512": HEX}], False),
        ({"sha256": HEX}, [{}], False),
        ({"sha256": HEX}, [], False),
    ],
)
def test_one_subject_has_to_agree_in_every_algorithm_in_common(
    wanted: dict[str, str], found: list[dict[str, str]], matches: bool
) -> None:
    (check,) = DigestWanted(wanted).match(about(*found))
    assert (check.id, check.expected) == ("subject", spell(wanted))
    assert check.result is (Result.PASS if matches else Result.FAIL)
    assert check.reason is (None if matches else Reason.SUBJECT_MISMATCH)
    assert (check.actual == check.expected) is matches


@pytest.mark.parametrize(
    ("count", "told"),
    [
        (0, "no subject"),
        (1, "sha256:0"),
        (2, "2 subjects: sha256:0, sha256:1"),
        (4, "4 subjects: sha256:0, sha256:1, sha256:2, sha256:3"),
        (5, "5 subjects: sha256:0, sha256:1, sha256:2, sha256:3 and 1 more"),
    ],
)
def test_four_subjects_are_told_and_how_many_more_there_are(count: int, told: str) -> None:
    found = about(*({"sha256": str(number)} for number in range(count)))
    (check,) = DigestWanted({"sha256": HEX}).match(found)
    assert check.actual == told


def test_an_image_is_the_one_asked_for_by_its_sha256() -> None:
    wanted = DigestWanted({"sha256": HEX})
    assert wanted.is_image(HEX)
    assert not wanted.is_image(OTHER)
    assert not wanted.is_image("")
    assert not DigestWanted({"sha512": HEX}).is_image(HEX)


def test_without_a_question_nothing_is_compared_and_no_image_is_asked_for() -> None:
    found = about({"sha256": HEX, "sha512": "x"})
    assert NothingWanted().match(found) == [
        Check(
            "subject",
            Result.SKIP,
            "an artifact's digest was not given",
            f"subject: not compared; it speaks for s0 sha256:{HEX} sha512:x",
            Reason.NOT_COMPARED,
        )
    ]
    assert not NothingWanted().is_image(HEX)
