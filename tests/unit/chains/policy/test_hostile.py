"""Evidence of tenants and of whoever may write to a repository, and patterns of careless authors."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from chains.documents.regexps import regexp_problem
from chains.policy.candidate import VerifiedStatement, candidates
from chains.policy.document.patterns import read_image
from chains.policy.document.policy import Requirements
from chains.policy.document.sources import git_sources
from chains.policy.requirements import check_all
from chains.policy.rules import Rules
from chains.statements.statement import parse_statement
from chains.verify.signed_by import SignedBy
from chains.verify.verdict import Attestation, Verdict
from signers.sigstore.verification_material import VerifiedTime
from storage.record import Evidence
from tests.faults.verify.forge import (
    IMAGE,
    NOW,
    Broken,
    Shelf,
    altered,
    evidence,
    form_b,
    old_provenance,
    public,
    signer,
    to_bytes,
)
from tests.unit.chains.policy.made import (
    REF,
    STOREFRONT,
    document,
    git_input,
    opened,
    report,
    tekton,
    verdict,
    wrong,
)

Json = Any
SCAN = "https://scan.example.com/v1"
FALSE = [{"name": "no", "cel": "size(attestations) == 0", "message": "there are statements"}]


def _copies(number: int) -> list[Evidence]:
    """Return copies of one signed statement that differ in bytes which nobody signed."""
    data = form_b(tekton()).data
    return [evidence(data + b" " * more) for more in range(number)]


def test_a_rule_sees_statements_of_a_type_by_its_own_signers_alone() -> None:
    policy = document(
        signers=[{"predicateType": SCAN, "keys": [{"pem": public("scanner").pem.decode()}]}],
        rules=[
            {
                "name": "scanned",
                "cel": f"attestations.exists(one, one.predicateType == '{SCAN}')",
                "message": "no scan",
            }
        ],
    )
    scan = tekton() | {"predicateType": SCAN, "predicate": {"passed": True}}
    assert wrong(verdict(policy, form_b(tekton()), form_b(scan, signer("scanner")))) == {}
    assert wrong(verdict(policy, form_b(tekton()), form_b(scan))) == {"scanned": "rule_failed"}


def test_a_rule_sees_no_provenance_by_the_signer_of_another_type() -> None:
    policy = document(
        signers=[{"predicateType": SCAN, "keys": [{"pem": public("scanner").pem.decode()}]}],
        rules=[{"name": "one", "cel": "size(attestations) == 1", "message": "expected one statement"}],
    )
    foreign = form_b(tekton(uid="uid-2"), signer("scanner"))
    assert wrong(verdict(policy, form_b(tekton()), foreign)) == {}


def test_each_statement_of_an_image_is_read_for_rules_once(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    original = VerifiedStatement.to_fact

    def counting(self: VerifiedStatement) -> dict[str, Any]:
        read.append(self.digest)
        return original(self)

    monkeypatch.setattr(VerifiedStatement, "to_fact", counting)
    runs = [form_b(tekton(uid=f"uid-{number}")) for number in range(20)]
    assert wrong(verdict(document(rules=FALSE), *runs)) == {"no": "rule_failed"}
    assert len(read) == len(runs)


def test_rules_are_asked_of_a_statement_once_however_many_copies_are_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = _asked(monkeypatch)
    rules = [{"name": "no", "cel": "provenance.predicateType == 'none'", "message": "it is another"}]
    found = verdict(document(rules=rules), *_copies(20), form_b(tekton(uid="uid-2")))
    assert wrong(found) == {"no": "rule_failed"}
    assert len(asked) == 2


def test_a_rule_about_all_statements_alone_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _asked(monkeypatch)
    found = verdict(document(rules=FALSE), *(form_b(tekton(uid=f"uid-{one}")) for one in range(20)))
    assert wrong(found) == {"no": "rule_failed"}
    assert len(asked) == 1


@pytest.mark.parametrize("name", ["provenance", "report", "signer"])
def test_a_rule_that_names_what_differs_is_asked_of_each(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = _asked(monkeypatch)
    cel = f"size(attestations) == 0 && [{name}] != []"
    rules = [{"name": "no", "cel": cel, "message": "there are statements"}]
    found = verdict(document(rules=rules), *(form_b(tekton(uid=f"uid-{one}")) for one in range(20)))
    assert wrong(found) == {"no": "rule_failed"}
    assert len(asked) == 20


def test_the_rules_of_an_image_stop_at_the_statement_that_meets_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = _asked(monkeypatch)
    rules = [{"name": "any", "cel": "provenance.predicateType != ''", "message": "it is another"}]
    found = verdict(document(rules=rules), *(form_b(tekton(uid=f"uid-{one}")) for one in range(20)))
    assert found.verdict is Verdict.VERIFIED
    assert len(asked) == 1


def _asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return what rules will be asked about."""
    asked: list[object] = []
    original = Rules.evaluate_each

    def counting(self: Rules, several: Json) -> Json:
        def counted() -> Json:
            for facts in several:
                asked.append(facts)
                yield facts

        return original(self, counted())

    monkeypatch.setattr(Rules, "evaluate_each", counting)
    return asked


def test_more_values_than_rules_may_see_fail_them_for_every_candidate() -> None:
    large = tekton(external={"listed": [0] * 60_000})
    runs = [form_b(large | {"predicate": large["predicate"] | {"run": number}}) for number in range(4)]
    policy = document(rules=[{"name": "fine", "cel": "true", "message": "never"}])
    assert wrong(verdict(policy, *runs[:2])) == {}
    assert wrong(verdict(policy, *runs)) == {"fine": "rule_error"}


def _signed(statement: Json, location: str, *ages: timedelta) -> VerifiedStatement:
    payload = to_bytes(statement)
    times = tuple(VerifiedTime(NOW - age, "TimestampAuthority", "https://tsa.example.com") for age in ages)
    by = SignedBy(keyid=public().keyid, times=times)
    attestation = Attestation(
        source="oci-referrer",
        location=location,
        digest=location,
        format="bundle-v0.3",
        used=True,
        signed_by=by,
        payload=payload,
        statement=parse_statement(payload),
    )
    return VerifiedStatement(attestation, parse_statement(payload), by, ())


def _ages(*verified: VerifiedStatement, is_whole: bool = True, is_read: bool = True) -> list[str]:
    (policy,) = opened(document())
    policy = replace(policy, policy=replace(policy.policy, require=Requirements(max_age=timedelta(days=30))))
    verified = tuple(replace(one, signers=policy.trust) for one in verified)
    found = candidates(
        policy,
        read_image(REF),
        verified,
        now=NOW,
        is_whole=is_whole,
        stores=("shelf:",),
        places=None,
        is_read=is_read,
    )
    checks = [check for one in found for check in check_all(one) if check.id == "maxAge"]
    return [check.reason.value if check.reason else "" for check in checks]


def test_a_copy_with_a_later_timestamp_makes_no_statement_younger() -> None:
    old = _signed(tekton(), "sha256:old", timedelta(days=40))
    again = _signed(tekton(), "sha256:again", timedelta(hours=1))
    bare = _signed(tekton(), "sha256:bare")
    other = _signed(tekton(uid="uid-2"), "sha256:other", timedelta(hours=1))
    assert _ages(again) == [""]
    assert _ages(old, again, bare) == ["too_old"] * 3
    assert sorted(_ages(old, other)) == ["", "too_old"]


@pytest.mark.parametrize(
    ("age", "is_whole", "reason"),
    [
        (timedelta(days=1), True, ""),
        (timedelta(days=1), False, "store_unavailable"),
        (timedelta(days=40), True, "too_old"),
        (timedelta(days=40), False, "too_old"),
        (None, True, "no_verified_time"),
        (None, False, "store_unavailable"),
    ],
)
def test_no_statement_is_young_enough_while_an_older_copy_may_lie_in_a_store_that_is_away(
    age: timedelta | None, *, is_whole: bool, reason: str
) -> None:
    one = _signed(tekton(), "sha256:one", *([age] if age else []))
    assert _ages(one, is_whole=is_whole) == [reason]


def test_no_statement_is_young_enough_while_an_older_copy_may_be_among_what_was_not_read() -> None:
    young, old = (_signed(tekton(), f"sha256:{days}", timedelta(days=days)) for days in (1, 40))
    assert _ages(young, is_read=False) == ["evidence_undecided"]
    assert _ages(old, is_read=False) == ["too_old"]


HIDDEN = [
    "GIT+https://evil.example.com/app",
    "git+HTTPS://evil.example.com/app",
    " git+https://evil.example.com/app",
    "SSH://git@evil.example.com/app",
    "deploy@evil.example.com:team/app",
    "https://evil.example.com/app.git@refs/heads/main",
    "https://evil.example.com/app.git#main",
    "https://evil.example.com/app.git/",
    "https://evil.example.com/app.GIT",
    "git+file:///evil/app",
]


@pytest.mark.parametrize("uri", HIDDEN)
def test_no_spelling_hides_a_git_source(uri: str) -> None:
    built = form_b(tekton(dependencies=[git_input(), git_input(uri)]))
    assert wrong(verdict(document(require={"sources": [STOREFRONT]}), built)) == {
        "sources": "source_not_allowed"
    }


@pytest.mark.parametrize(
    "uri",
    [
        "oci://registry.example.com/shop/app",
        "alpine@sha256:" + "a" * 64,
        "docker.io/library/alpine@sha256:" + "a" * 64,
        "https://files.example.com/app.tar.gz",
        "https://gitlab.example.com/app.github.tar",
        "pkg:npm/app@1.0",
    ],
)
def test_what_is_no_git_source_is_not_called_one(uri: str) -> None:
    foreign = tekton(build_type="https://build.example.com/v1", dependencies=[git_input(uri)])
    for statement in (foreign, tekton(dependencies=[git_input(uri)])):
        assert git_sources(parse_statement(to_bytes(statement))) == []


@pytest.mark.parametrize("digest", [None, {}, [], "sha1"])
def test_a_source_without_digest_is_not_left_out(digest: Json) -> None:
    stranger = {"uri": "git+https://evil.example.com/app.git", "digest": digest}
    listed = {"uri": STOREFRONT, "digest": digest}
    wanted = document(require={"sources": [STOREFRONT]})
    for odd in (stranger, listed):
        old = old_provenance()
        old["predicate"]["materials"] = [{"uri": STOREFRONT, "digest": {"sha1": "a" * 40}}, odd]
        new = tekton(dependencies=[git_input(), {"name": "inputs/result", **odd}])
        for statement in (old, new):
            assert wrong(verdict(wanted, form_b(statement))) == {"sources": "source_not_allowed"}


@pytest.mark.parametrize(
    "pattern",
    [
        "(a{1,2})+b",
        "((a{0,16}){0,16}){0,16}b",
        "(a?){16}(a?){16}b",
        "a?" * 30 + "a" * 30,
        "(?:a|aa)" * 30 + "b",
    ],
)
def test_bounded_repeats_that_multiply_are_refused(pattern: str) -> None:
    assert regexp_problem(pattern)


@pytest.mark.parametrize(
    "pattern", [r"https?://ci-[0-9]{1,3}(?:\.[0-9]{1,3}){1,3}\.example\.com/.*", r"(?:[a-f]{2}){4,16}-[0-9]+"]
)
def test_bounded_repeats_that_stay_few_are_taken(pattern: str) -> None:
    assert regexp_problem(pattern) == ""


def test_answers_show_control_characters_and_do_not_obey_them() -> None:
    built = form_b(
        tekton(builder="https://b.example/\x1b[2J\n  VERIFIED", external={"\x1b]0;x\x07": "\u202e"})
    )
    found = verdict(document(require={"externalParameters": {}}), built)
    assert found.verdict is Verdict.FAILED
    assert "\x1b" not in json.dumps(found.to_json())


def test_a_changed_envelope_beside_good_ones_fails_the_image() -> None:
    def change(members: Json) -> None:
        members["dsseEnvelope"]["payload"] = "e30="

    bad = evidence(altered(form_b(tekton()).data, change))
    assert verdict(document(), form_b(tekton(uid="uid-2")), bad).verdict is Verdict.FAILED


def test_step_images_are_undecided_while_a_store_that_may_hold_the_report_is_away() -> None:
    own = {"uri": "oci://registry.example.com/mirror/git", "digest": {"sha256": "a" * 64}}
    policy = document(require={"stepImages": {"repositories": ["registry.example.com/mirror/**"]}})
    built = form_b(tekton(dependencies=[own]))
    assert wrong(verdict(policy, Shelf(built, form_b(report())), Broken())) == {}
    found = verdict(policy, Shelf(built), Broken())
    assert (found.verdict, wrong(found)) == (Verdict.INDETERMINATE, {"stepImages": "store_unavailable"})


def test_an_exemption_from_trust_lets_no_signer_of_another_type_sign_provenance() -> None:
    exemption = {
        "image": IMAGE,
        "rules": ["trust"],
        "until": "2027-01-01T00:00:00Z",
        "reason": "another builder for some time",
        "reference": "SEC-1",
    }
    policy = document(
        signers=[{"predicateType": SCAN, "keys": [{"pem": public("scanner").pem.decode()}]}],
        exemptions=[exemption],
    )
    built = tekton(builder="https://other.example.com")
    assert wrong(verdict(policy, form_b(built))) == {}
    assert wrong(verdict(policy, form_b(built, signer("scanner")))) == {"trust": "builder_not_trusted"}
    both = verdict(policy, form_b(built), form_b(built, signer("scanner")))
    assert both.verdict is Verdict.VERIFIED


def test_an_answer_shows_no_more_of_a_long_text_than_a_reader_needs() -> None:
    long = "x" * 1_000_000
    built = form_b(
        tekton(builder=f"https://b.example/{long}", dependencies=[git_input(f"git+https://e.example/{long}")])
    )
    found = verdict(document(require={"sources": [STOREFRONT], "buildTypes": ["https://b.example"]}), built)
    assert set(wrong(found)) == {"trust", "sources", "buildTypes"}
    assert all(len(check.actual) < 11_000 for check in found.checks)
    assert "characters)" in found.summary
