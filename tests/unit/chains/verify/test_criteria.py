"""What is asked of evidence: whom options name, what is refused, and how it is told."""

from __future__ import annotations

import re
from typing import Any

import pytest

from chains.errors import UsageError
from chains.statements.statement import SLSA_V02, SLSA_V1
from chains.verify.criteria import LONGEST_NAME, CertificateWanted, Criteria, NameWanted
from signers.sigstore.trusted_root import TrustedRoot
from tests.faults.verify.forge import public

Json = Any
ROOT = TrustedRoot((), (), (), ())
WANTED = CertificateWanted(NameWanted("https://me"), NameWanted("https://issuer"))
NOBODY = "nobody to trust"
NO_ROOT = "certificates, log entries and timestamps are verified with a trusted root"
HALF = "an identity counts together with its issuer alone"
EMPTY = "a predicate type, builder id or build type to demand must not be empty"


@pytest.mark.parametrize(
    ("value", "is_regexp", "name", "matches"),
    [
        ("https://a.example", False, "https://a.example", True),
        ("https://a.example", False, "https://a.example.x", False),
        ("https://a.example", False, "https://A.example", False),
        ("https://a.example", False, "", False),
        ("a.c", False, "abc", False),
        ("a.c", True, "abc", True),
        ("a.c", True, "abcd", False),
        ("a.c", True, "xabc", False),
        ("a.c", True, "abc\n", False),
        ("a.*", True, "", False),
        (".*", True, "", False),
        (".*", True, "x" * LONGEST_NAME, True),
        (".*", True, "x" * (LONGEST_NAME + 1), False),
        ("x" * (LONGEST_NAME + 1), False, "x" * (LONGEST_NAME + 1), True),
    ],
)
def test_a_name_is_wanted_whole(value: str, is_regexp: bool, name: str, matches: bool) -> None:
    assert NameWanted(value, is_regexp).matches(name) is matches


def test_a_name_is_told_as_it_was_asked_for() -> None:
    assert str(NameWanted("a")) == "a"
    assert str(NameWanted("a.*", is_regexp=True)) == "matching a.*"
    assert str(WANTED) == "https://me (issuer https://issuer)"
    either = CertificateWanted(NameWanted("a.*", is_regexp=True), NameWanted("b.*", is_regexp=True))
    assert str(either) == "matching a.* (issuer matching b.*)"


def test_names_that_mean_nothing_are_refused() -> None:
    for is_regexp in (False, True):
        with pytest.raises(UsageError, match=r"^an identity or issuer to demand must not be empty$"):
            NameWanted("", is_regexp)
    with pytest.raises(UsageError, match=r"^'\(' is no regular expression: missing \)"):
        NameWanted("(", is_regexp=True)
    assert NameWanted("(").matches("(")


@pytest.mark.parametrize(
    ("options", "identity", "issuer"),
    [
        ({"identity": "a", "issuer": "b"}, NameWanted("a"), NameWanted("b")),
        ({"identity_regexp": "a", "issuer": "b"}, NameWanted("a", is_regexp=True), NameWanted("b")),
        ({"identity": "a", "issuer_regexp": "b"}, NameWanted("a"), NameWanted("b", is_regexp=True)),
    ],
)
def test_options_name_an_identity_with_its_issuer(
    options: dict[str, str], identity: NameWanted, issuer: NameWanted
) -> None:
    assert CertificateWanted.from_options(**options) == CertificateWanted(identity, issuer)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"identity": "a"}, HALF),
        ({"identity_regexp": "a"}, HALF),
        ({"issuer": "b"}, HALF),
        ({"issuer_regexp": "b"}, HALF),
        (
            {"identity": "a", "identity_regexp": "a", "issuer": "b"},
            "a certificate's identity is either one name or a regular expression, not both",
        ),
        (
            {"identity": "a", "issuer": "b", "issuer_regexp": "b"},
            "a certificate's issuer is either one name or a regular expression, not both",
        ),
    ],
)
def test_half_an_identity_and_one_told_twice_are_refused(options: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(words)}$"):
        CertificateWanted.from_options(**options)


def test_no_option_asks_for_no_certificate() -> None:
    assert CertificateWanted.from_options() is None


def test_an_identity_is_written_by_what_it_is() -> None:
    assert WANTED.to_json() == {"identity": "https://me", "issuer": "https://issuer"}
    either = CertificateWanted(NameWanted("a", is_regexp=True), NameWanted("b", is_regexp=True))
    assert either.to_json() == {"identityRegexp": "a", "issuerRegexp": "b"}


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({}, NOBODY),
        ({"trusted_root": ROOT, "require_log": True}, NOBODY),
        ({"certificate": WANTED}, NO_ROOT),
        ({"keys": [public()], "require_log": True}, NO_ROOT),
        ({"keys": [public()], "require_timestamp": True}, NO_ROOT),
        ({"keys": [public()], "predicate_types": [SLSA_V1, ""]}, EMPTY),
        ({"keys": [public()], "builder_id": ""}, EMPTY),
        ({"keys": [public()], "build_type": ""}, EMPTY),
    ],
)
def test_criteria_that_demand_nothing_are_refused(members: Json, words: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(words)}$"):
        Criteria(**members)


def test_criteria_that_need_no_trusted_root_and_such_as_have_one_are_taken() -> None:
    assert Criteria([public()], require_hermetic=True).trusted_root is None
    assert Criteria(certificate=WANTED, trusted_root=ROOT).keys == ()
    assert Criteria([public()], require_log=True, require_timestamp=True, trusted_root=ROOT).required == [
        "log",
        "timestamp",
    ]


def test_criteria_are_written_whole() -> None:
    key = public()
    listed = [{"keyid": key.keyid, "algorithm": key.algorithm}]
    assert Criteria([key]).to_json() == {
        "predicateType": [SLSA_V1, SLSA_V02],
        "signer": {"key": listed},
        "builderId": None,
        "buildType": None,
        "namespace": None,
        "pipelineRef": None,
        "taskRef": None,
        "source": None,
        "require": [],
    }
    whole = Criteria(
        [key], ["https://type"], "https://builder", "https://kind", require_hermetic=True, certificate=WANTED,
        trusted_root=ROOT, require_log=True, require_timestamp=True,
    )  # fmt: skip
    assert whole.to_json() == {
        "predicateType": ["https://type"],
        "signer": {"key": listed, "certificate": {"identity": "https://me", "issuer": "https://issuer"}},
        "builderId": "https://builder",
        "buildType": "https://kind",
        "namespace": None,
        "pipelineRef": None,
        "taskRef": None,
        "source": None,
        "require": ["hermetic", "log", "timestamp"],
    }
    assert whole.signers == f"signed by {key.keyid} or https://me (issuer https://issuer)"


@pytest.mark.parametrize("pattern", ["(a+)+", "(a|a)*b", ".*.*.*.*.*b", "(?:a|aa)+b"])
def test_no_identity_of_a_stranger_makes_an_expression_slow(pattern: str) -> None:
    wanted = NameWanted(pattern, is_regexp=True)
    assert not wanted.matches("a" * (LONGEST_NAME - 1) + "!")
    assert not wanted.matches("a" * 40 + "!")
    assert wanted.matches("aab" if pattern.endswith("b") else "aa")


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?!evil)[a-z]+",
        r"(?<=a)b",
        r"(a)\1",
        r"(a+)+\b",
        r"(?m)^(a+)+$",
        r"(?>a+)b",
        r"(?:a{100}){100}",
    ],
)
def test_an_expression_that_a_name_could_make_slow_is_a_usage_error(pattern: str) -> None:
    with pytest.raises(UsageError, match="cannot be compared with every name in bounded time"):
        NameWanted(pattern, is_regexp=True)
    for name in ("identity", "issuer"):
        options = {"identity": "a", "issuer": "b"} | {f"{name}_regexp": pattern}
        del options[name]
        with pytest.raises(UsageError, match="give the exact name"):
            CertificateWanted.from_options(**options)
    assert NameWanted(pattern).matches(pattern)
