"""Verification summaries in place of provenance: which count, for what, and what they never show."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chains.policy.authoring.explain import explain
from chains.policy.authoring.lint import lint_policies
from chains.policy.document.load import parse_policies
from chains.policy.document.patterns import read_image
from chains.policy.document.policy import Requirements
from chains.policy.loaded import Policy
from chains.policy.reasons import Requirement
from chains.policy.verdict import Decision
from chains.statements.vsa import VSA
from chains.verify.verdict import Verdict
from signers.keys.keyset import MEDIA_TYPE
from storage.record import Evidence, SkipKind, Skipped
from tests.faults.verify.forge import (
    DIGEST,
    IMAGE,
    NOW,
    OTHER,
    Broken,
    Shelf,
    evidence,
    form_a,
    form_b,
    public,
    signer,
    with_payload,
)
from tests.testbed.forged_sigstore import IDENTITY, ISSUER
from tests.unit.chains.policy.made import (
    STOREFRONT,
    document,
    git_input,
    problems,
    report,
    tekton,
    trust,
    verdict,
    wrong,
)
from tests.unit.chains.policy.summaries import (
    PLACE,
    POLICY,
    VERIFIER,
    accepted,
    by_certificate,
    door,
    failed,
    held,
    stamped,
    trusted_root,
    vsa,
)

Json = Any
EXEMPTION = {"image": IMAGE, "until": "2027-01-01T00:00:00Z", "reason": "r", "reference": "T-1"}


def test_a_summary_of_an_accepted_verifier_counts_in_place_of_provenance() -> None:
    found = verdict(door(require={"level": 2, "hermetic": "enforced"}), held(vsa()))
    assert (found.verdict, found.decision) == (Verdict.VERIFIED, Decision.ALLOW)
    assert (found.basis, found.trust, found.level, found.hermetic) == ("vsa", "security", 2, "enforced")
    assert found.to_json()["basis"] == "vsa"
    assert found.summary == "4 requirements met, summary accepted as security, level 2"
    assert [check.id for check in found.checks] == ["evidence", "vsa", "level", "hermetic"]
    assert [one.used for one in found.attestations] == [True]


@pytest.mark.parametrize("form", [form_a, form_b])
def test_it_counts_in_both_forms_of_storage(form: Callable[..., Evidence]) -> None:
    assert verdict(door(), form(vsa(), signer("verifier"))).verdict is Verdict.VERIFIED
    both = verdict(door(), form_a(vsa(), signer("verifier")), form_b(vsa(), signer("verifier")))
    assert both.checks[0].actual == "1 verification summary"


def _altered(statement: Json) -> None:
    statement["predicate"]["verifiedLevels"] = ["SLSA_BUILD_LEVEL_3"]


WRONG: dict[str, tuple[Evidence, dict[str, str]]] = {
    "other image": (held(vsa(OTHER)), {"evidence": "subject_mismatch"}),
    "other key": (held(vsa(), "stranger"), {"evidence": "key_unknown"}),
    "builder's key": (held(vsa(), "ours"), {"evidence": "key_unknown"}),
    "changed after signing": (
        evidence(with_payload(held(vsa()).data, _altered)),
        {"evidence": "evidence_invalid"},
    ),
    "other predicate type": (
        held(vsa() | {"predicateType": "https://slsa.dev/verification_summary/v0.2"}),
        {"evidence": "predicate_type_mismatch"},
    ),
    "other verifier": (held(vsa(verifier={"id": VERIFIER + "/other"})), {"vsa": "verifier_not_accepted"}),
    "other repository": (held(vsa(resourceUri=f"{IMAGE}-other@{DIGEST}")), {"vsa": "resource_mismatch"}),
    "other digest": (held(vsa(resourceUri=f"{IMAGE}@sha256:{OTHER}")), {"vsa": "resource_mismatch"}),
    "place without digest": (held(vsa(resourceUri=IMAGE)), {"vsa": "resource_mismatch"}),
    "place with a tag": (held(vsa(resourceUri=f"{IMAGE}:v1@{DIGEST}")), {"vsa": "resource_mismatch"}),
    "other policy": (
        held(vsa(policy={"uri": POLICY + "/2", "digest": {"sha256": "ab" * 32}})),
        {"vsa": "summary_policy_not_accepted"},
    ),
    "other version of the policy": (
        held(vsa(policy={"uri": POLICY, "digest": {"sha256": "cd" * 32}})),
        {"vsa": "summary_policy_not_accepted"},
    ),
    "policy without digest": (held(vsa(policy={"uri": POLICY})), {"vsa": "summary_policy_not_accepted"}),
    "policy with another kind of digest": (
        held(vsa(policy={"uri": POLICY, "digest": {"sha512": "ab" * 64}})),
        {"vsa": "summary_policy_not_accepted"},
    ),
    "failed": (held(vsa(verificationResult="FAILED")), {"vsa": "verification_failed"}),
    "failed levels": (
        held(vsa(verifiedLevels=["FAILED"])),
        {"vsa": "summary_invalid", "level": "level_too_low"},
    ),
    "lower level": (held(vsa(verifiedLevels=["SLSA_BUILD_LEVEL_1"])), {"level": "level_too_low"}),
    "level of another track": (
        held(vsa(verifiedLevels=["SLSA_SOURCE_LEVEL_3"])),
        {"level": "level_too_low"},
    ),
    "not evaluated": (
        held(vsa(verifiedLevels=["SLSA_BUILD_LEVEL_UNEVALUATED"])),
        {"level": "level_too_low"},
    ),
    "two levels of one track": (
        held(vsa(verifiedLevels=["SLSA_BUILD_LEVEL_3", "SLSA_BUILD_LEVEL_1"])),
        {"level": "level_too_low"},
    ),
    "from the future": (held(vsa(timeVerified="2026-10-05T09:05:01Z")), {"vsa": "no_verified_time"}),
}


@pytest.mark.parametrize("name", WRONG)
def test_10_a_summary_that_was_found_is_not_yet_one_that_counts(name: str) -> None:
    piece, reasons = WRONG[name]
    found = verdict(door(), piece)
    assert found.verdict is not Verdict.VERIFIED
    assert found.decision is Decision.DENY
    assert wrong(found) == reasons
    assert all(check.guidance for check in found.checks if check.is_wrong)
    # and it takes nothing away from the right one, unless somebody changed or refused it
    beside = verdict(door(), piece, held(vsa()))
    is_refused = name in {"changed after signing", "failed", "failed levels"}
    assert (beside.verdict is Verdict.VERIFIED) is not is_refused


REFUSALS: dict[str, tuple[Evidence, bool]] = {
    "newer": (held(failed()), True),
    "of the same second": (held(failed(timeVerified="2026-10-05T08:00:00Z")), True),
    "without a time": (held(failed(timeVerified=None)), True),
    "with a time that is none": (held(failed(timeVerified="yesterday")), True),
    "by another policy": (held(failed(policy={"uri": POLICY + "/2"})), True),
    "that is incomplete": (held(failed(policy=None, verifiedLevels=None)), True),
    "older": (held(failed(timeVerified="2026-10-05T07:59:59Z")), False),
    "of another verifier": (held(failed(verifier={"id": VERIFIER + "/2"})), False),
    "of another place": (held(failed(resourceUri=f"{IMAGE}-other@{DIGEST}")), False),
    "of another image": (held(failed() | {"subject": vsa(OTHER)["subject"]}), False),
    "by a stranger": (held(failed(), "stranger"), False),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_newer_refusal_of_the_same_verifier_and_place_counts(name: str) -> None:
    piece, is_refused = REFUSALS[name]
    for pieces in ((held(vsa()), piece), (piece, held(vsa()))):
        found = verdict(door(), *pieces)
        assert (found.verdict is Verdict.FAILED) is is_refused
        if is_refused:
            assert wrong(found) == {"vsa": "verification_failed"}


def test_a_summary_without_a_time_is_older_than_every_refusal() -> None:
    found = verdict(door(), held(vsa(timeVerified=None)), held(failed(timeVerified="2020-01-01T00:00:00Z")))
    assert wrong(found) == {"vsa": "verification_failed"}
    assert verdict(door(), held(vsa(timeVerified=None))).verdict is Verdict.VERIFIED


@pytest.mark.parametrize("window", [{"status": "revoked"}, {"notAfter": "2026-01-01T00:00:00Z"}])
def test_a_key_that_no_longer_counts_cannot_pass_an_image_and_its_refusal_stays(
    window: dict[str, str], tmp_path: Path
) -> None:
    listed = {"pem": public("old").pem.decode(), "keyid": public("old").keyid, **window}
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"mediaType": MEDIA_TYPE, "keys": [listed]}))
    own = {"pem": public("verifier").pem.decode()}
    policy = door(accepted(signer={"keys": [{"ref": str(keys)}, own]}))
    assert verdict(policy, held(vsa(), "old")).verdict is Verdict.FAILED
    assert wrong(verdict(policy, held(vsa()), held(failed(), "old"))) == {"vsa": "verification_failed"}


def test_a_refusal_by_the_next_key_of_a_verifier_counts_for_the_one_before() -> None:
    entries = accepted("before"), accepted("after", "next")
    found = verdict(door(*entries), held(vsa()), held(failed(), "next"))
    assert wrong(found) == {"vsa": "verification_failed"}


def test_a_store_that_is_away_may_have_a_refusal() -> None:
    found = verdict(door(), Shelf(held(vsa())), Broken())
    assert found.verdict is Verdict.INDETERMINATE
    assert wrong(found) == {"vsa": "store_unavailable"}


@pytest.mark.parametrize("spec", [{}, {"unavailable": "warn"}])
@pytest.mark.parametrize("kind", SkipKind)
def test_what_was_not_read_may_be_a_refusal_whatever_follows_from_stores_that_are_away(
    kind: SkipKind, spec: Json
) -> None:
    left = Skipped("registry.example.com/team/app@sha256:1", "", "there are more than 200 referrers", kind)
    found = verdict(door(**spec), Shelf(held(vsa()), skipped=[left]))
    if kind is SkipKind.FOREIGN:
        assert found.verdict is Verdict.VERIFIED
    else:
        assert (found.verdict, found.decision) == (Verdict.INDETERMINATE, Decision.DENY)
        assert wrong(found) == {"vsa": "evidence_undecided"}


def test_the_last_of_many_refusals_counts_in_any_order() -> None:
    early, late = (failed(timeVerified=f"2026-10-05T0{hour}:00:00Z") for hour in (7, 9))
    unknown = failed(timeVerified="then")
    passed = held(vsa())
    assert verdict(door(), passed, held(early)).verdict is Verdict.VERIFIED
    for refusals in ((early, late), (late, early), (early, unknown), (unknown, early)):
        found = verdict(door(), passed, *map(held, refusals))
        assert wrong(found) == {"vsa": "verification_failed"}


def aged(longest: str = "24h", **spec: Json) -> Json:
    return door(accepted(maxAge=longest), trustedRoot=trusted_root(), **spec)


HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


@pytest.mark.parametrize(
    ("told", "ages", "reason"),
    [
        (None, [HOUR], None),
        (None, [24 * HOUR], None),
        (None, [24 * HOUR + SECOND], "summary_too_old"),
        (None, [], "no_verified_time"),
        ("2026-10-05T08:00:00Z", [], "no_verified_time"),
        ("2026-10-05T08:00:00Z", [HOUR], None),
        # a signature that was timestamped again, and a statement that says when it was made
        ("2026-10-01T08:00:00Z", [HOUR], "summary_too_old"),
        ("2026-10-01T08:00:00Z", [], "summary_too_old"),
        ("2026-10-05T08:00:00Z", [25 * HOUR, HOUR], "summary_too_old"),
    ],
)
def test_the_age_counts_from_the_earliest_time_that_somebody_vouches_for(
    told: str | None, ages: list[timedelta], reason: str | None
) -> None:
    piece = stamped(vsa(timeVerified=told), *(NOW - age for age in ages))
    found = verdict(aged(), piece)
    assert wrong(found) == ({"vsaMaxAge": reason} if reason else {})
    undecided = reason == "no_verified_time"
    expected = Verdict.INDETERMINATE if undecided else Verdict.FAILED if reason else Verdict.VERIFIED
    assert found.verdict is expected


def test_a_copy_with_a_later_timestamp_makes_no_summary_younger() -> None:
    statement = vsa(timeVerified=None)
    old, again = stamped(statement, NOW - 25 * HOUR), stamped(statement, NOW - HOUR)
    assert verdict(aged(), again).verdict is Verdict.VERIFIED
    assert wrong(verdict(aged(), old, again)) == {"vsaMaxAge": "summary_too_old"}
    assert wrong(verdict(aged(), again, old)) == {"vsaMaxAge": "summary_too_old"}


HOST = "2025-06-01T12:01:00Z"
"""When the certificates of ``by_certificate`` hold."""


@pytest.mark.parametrize(
    ("identity", "reason"),
    [
        ({"san": IDENTITY, "issuer": ISSUER}, None),
        ({"sanRegexp": ".*/serviceaccounts/.*", "issuer": ISSUER}, None),
        ({"san": IDENTITY + "/other", "issuer": ISSUER}, "identity_mismatch"),
        ({"san": IDENTITY, "issuer": ISSUER + "/other"}, "issuer_mismatch"),
    ],
)
def test_a_verifier_may_be_an_identity_with_its_issuer(identity: Json, reason: str | None) -> None:
    entry = accepted(signer={"identity": identity}, maxAge="600d")
    policy = door(entry, trustedRoot=trusted_root())
    piece = by_certificate(vsa(timeVerified=HOST))
    assert wrong(verdict(policy, piece)) == ({"evidence": reason} if reason else {})
    if reason is None:
        aged_out = door(entry | {"maxAge": "300d"}, trustedRoot=trusted_root())
        assert wrong(verdict(aged_out, piece)) == {"vsaMaxAge": "summary_too_old"}
        other = by_certificate(vsa(timeVerified=HOST, verifier={"id": VERIFIER + "/other"}))
        assert wrong(verdict(policy, other)) == {"vsa": "verifier_not_accepted"}


def test_a_summary_expires_while_nothing_changes() -> None:
    piece = stamped(vsa(), NOW - HOUR)
    assert verdict(aged(), piece).verdict is Verdict.VERIFIED
    later = verdict(aged(), piece, now=datetime.fromisoformat("2026-10-06T09:00:00+00:00"))
    assert wrong(later) == {"vsaMaxAge": "summary_too_old"}


def test_the_level_is_the_lower_of_what_is_stated_and_what_is_accepted() -> None:
    stated = held(vsa(verifiedLevels=["SLSA_BUILD_LEVEL_3"]))
    assert verdict(door(), stated).level == 3
    low = verdict(door(accepted(maxLevel=1)), stated)
    assert (low.level, wrong(low)) == (1, {"level": "level_too_low"})
    unstated = verdict(door(), held(vsa(verifiedLevels=["COMPANY_CHECKED"])))
    assert (unstated.level, wrong(unstated)) == (0, {"level": "level_too_low"})


def test_hermetic_execution_counts_only_where_it_is_stated() -> None:
    policy = door(require={"hermetic": "enforced"})
    assert wrong(verdict(policy, held(vsa(verifiedLevels=["SLSA_BUILD_LEVEL_3"])))) == {
        "hermetic": "hermetic_not_proven"
    }


def test_levels_that_an_entry_names_must_be_stated() -> None:
    policy = door(accepted(verifiedLevels=["SLSA_BUILD_LEVEL_2", "COMPANY_SCANNED"]), require={})
    assert wrong(verdict(policy, held(vsa()))) == {"vsa": "summary_level_missing"}
    scanned = ["SLSA_BUILD_LEVEL_3", "COMPANY_SCANNED"]
    assert verdict(policy, held(vsa(verifiedLevels=scanned))).verdict is Verdict.VERIFIED
    low = ["SLSA_BUILD_LEVEL_1", "COMPANY_SCANNED"]
    assert wrong(verdict(policy, held(vsa(verifiedLevels=low)))) == {"vsa": "summary_level_missing"}


def test_a_verifier_whose_clock_is_a_little_ahead_is_heard() -> None:
    ahead = vsa(timeVerified="2026-10-05T09:05:00Z")
    assert verdict(door(), held(ahead)).verdict is Verdict.VERIFIED
    assert verdict(aged(), stamped(ahead, NOW)).verdict is Verdict.VERIFIED


def test_a_refused_summary_says_so_itself_and_not_by_another() -> None:
    own = verdict(door(), held(failed()))
    assert [check.actual for check in own.checks if check.is_wrong][:1] == ["FAILED"]
    other = verdict(door(), held(vsa()), held(failed()))
    assert [check.actual for check in other.checks if check.is_wrong] == [
        "a newer summary of this verifier says FAILED"
    ]


def test_an_answer_without_a_verified_time_says_what_is_missing() -> None:
    (check,) = [one for one in verdict(aged(), held(vsa())).checks if one.is_wrong]
    assert check.actual == "no timestamp or log entry says when it was signed"


UNSTATED: dict[str, Json] = {
    "buildTypes": ["https://tekton.dev/chains/v2/slsa"],
    "sources": [STOREFRONT],
    "externalParameters": {},
    "outcome": "succeeded",
    "namespaces": ["ci"],
    "maxAge": "30d",
    "log": True,
    "timestamp": True,
    "stepImages": {"pinned": True},
    "tasks": {"pinned": True},
    "rejectedHints": False,
    "everyStore": True,
}


@pytest.mark.parametrize("name", UNSTATED)
def test_no_summary_shows_what_it_does_not_state(name: str) -> None:
    policy = door(require={"level": 2, name: UNSTATED[name]}, trustedRoot=trusted_root())
    assert wrong(verdict(policy, held(vsa()))) == {name: "not_in_summary"}


def test_every_requirement_was_asked_of_a_summary() -> None:
    """A requirement that is added later is refused, too, unless it is listed as one that a summary states."""
    stated = {"level", "hermetic", "predicates"}
    everything = Requirements(
        **{one.name: 1 for one in dataclasses.fields(Requirements)}  # type: ignore[arg-type]
    )
    assert {*everything.demanded} == {*UNSTATED, *stated}
    beyond = {Requirement.EVIDENCE, Requirement.TRUST, Requirement.VSA, Requirement.VSA_MAX_AGE}
    assert {*Requirement} - beyond == {*UNSTATED, *stated}
    assert Requirements().demanded == ()


def test_rules_are_never_met_by_a_summary() -> None:
    rules = [{"name": "fine", "cel": "true", "message": "never"}]
    assert wrong(verdict(door(rules=rules), held(vsa()))) == {"fine": "not_in_summary"}


def test_statements_of_other_types_are_asked_for_beside_a_summary() -> None:
    scan = "https://example.com/scan/v1"
    keys = [{"pem": public("scanner").pem.decode()}]
    policy = door(require={"predicates": [scan]}, signers=[{"predicateType": scan, "keys": keys}])
    scanned = form_b(tekton() | {"predicateType": scan, "predicate": {}}, signer("scanner"))
    assert wrong(verdict(policy, held(vsa()))) == {"predicates": "predicate_missing"}
    assert verdict(policy, held(vsa()), scanned).verdict is Verdict.VERIFIED


def both(**require: Json) -> Json:
    return document(accept={"vsa": [accepted()]}, require=require)


def test_provenance_shows_what_a_summary_does_not() -> None:
    built = form_b(tekton(dependencies=[git_input()]))
    found = verdict(both(sources=[STOREFRONT]), built, held(vsa()))
    assert (found.verdict, found.basis, found.trust) == (Verdict.VERIFIED, "provenance", "tekton")
    summaries = [one for one in found.attestations if one.statement is None]
    assert [one.used for one in summaries] == [False]


def test_a_summary_and_provenance_never_complete_each_other() -> None:
    policy = both(sources=[STOREFRONT], hermetic="enforced")
    built = form_b(tekton(dependencies=[git_input()]))
    found = verdict(policy, built, held(vsa()))
    assert found.verdict is Verdict.FAILED
    assert wrong(found) == {"hermetic": "no_execution_report"}
    assert verdict(policy, built, form_b(report())).verdict is Verdict.VERIFIED


def test_a_summary_helps_where_provenance_shows_too_little() -> None:
    policy = both(level=2, hermetic="enforced")
    assert verdict(policy, form_b(tekton())).verdict is Verdict.FAILED
    found = verdict(policy, form_b(tekton()), held(vsa()))
    assert (found.verdict, found.basis) == (Verdict.VERIFIED, "vsa")


def test_a_refusal_does_not_stand_against_provenance_that_shows_everything() -> None:
    found = verdict(both(level=2), form_b(tekton()), held(failed()))
    assert (found.verdict, found.basis) == (Verdict.VERIFIED, "provenance")


def test_the_verifier_signs_no_provenance_and_the_builder_no_summary() -> None:
    assert verdict(both(), form_b(tekton(), signer("verifier"))).verdict is Verdict.FAILED
    assert verdict(both(), held(vsa(), "ours")).verdict is Verdict.FAILED
    shared = document(trust=[trust("tekton", "ours", "verifier")], accept={"vsa": [accepted()]})
    assert verdict(shared, form_b(tekton(), signer("verifier"))).basis == "provenance"
    assert verdict(shared, held(vsa())).basis == "vsa"


def test_a_policy_of_summaries_alone_says_what_it_expected() -> None:
    found = verdict(door())
    assert (found.verdict, wrong(found)) == (Verdict.NOT_FOUND, {"evidence": "no_evidence"})
    assert found.checks[0].expected == "a verification summary of an accepted verifier"
    assert verdict(door(), form_b(tekton())).verdict is Verdict.FAILED
    assert verdict(door(), Broken()).verdict is Verdict.INDETERMINATE


def test_docker_hub_is_one_place_with_two_names() -> None:
    image = f"docker.io/library/nginx@{DIGEST}"
    policy = door(match={"images": ["docker.io/library/nginx"]})
    for place in (image, f"index.{image}"):
        assert verdict(policy, held(vsa(resourceUri=place)), image=image).verdict is Verdict.VERIFIED
    foreign = held(vsa(resourceUri=f"registry.example.com/docker.io/library/nginx@{DIGEST}"))
    assert wrong(verdict(policy, foreign, image=image)) == {"vsa": "resource_mismatch"}


def test_the_age_of_a_summary_can_be_exempt_and_the_summary_itself_cannot() -> None:
    exempt = aged(exemptions=[{"rules": ["vsaMaxAge"], **EXEMPTION}])
    found = verdict(exempt, stamped(vsa(), NOW - 40 * HOUR))
    assert found.verdict is Verdict.VERIFIED
    assert [check.id for check in found.checks if check.exempted] == ["vsaMaxAge"]
    assert problems(door(exemptions=[{"rules": ["vsa"], **EXEMPTION}])) == {"exemption"}
    of_trust = door(exemptions=[{"rules": ["trust", "level"], **EXEMPTION}])
    assert wrong(verdict(of_trust, held(vsa(verifier={"id": "https://other.example.com"})))) == {
        "vsa": "verifier_not_accepted"
    }


def test_a_requirement_that_is_exempt_is_not_asked_of_a_summary() -> None:
    policy = door(require={"sources": [STOREFRONT]}, exemptions=[{"rules": ["sources"], **EXEMPTION}])
    assert verdict(policy, held(vsa())).verdict is Verdict.VERIFIED


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"trust": [], "accept": None}, "too_few"),
        ({"accept": {}}, "missing_name"),
        ({"accept": {"vsa": []}}, "too_few"),
        ({"accept": {"vsa": [accepted(verifierId=None)]}}, "missing_name"),
        ({"accept": {"vsa": [accepted(policy=None)]}}, "missing_name"),
        ({"accept": {"vsa": [accepted(policy={"digest": "sha256:" + "ab" * 32})]}}, "missing_name"),
        ({"accept": {"vsa": [accepted(policy={"uri": POLICY, "digest": "ab" * 32})]}}, "wrong_type"),
        ({"accept": {"vsa": [accepted(maxLevel=None)]}}, "missing_name"),
        ({"accept": {"vsa": [accepted(maxLevel=4)]}}, "wrong_type"),
        ({"accept": {"vsa": [accepted(signer={})]}}, "nobody"),
        ({"accept": {"vsa": [accepted(maxAge="1h")]}}, "no_trusted_root"),
        ({"accept": {"vsa": [accepted(), accepted()]}}, "name_twice"),
        ({"accept": {"vsa": [accepted("tekton")]}, "trust": [trust("tekton")]}, "name_taken"),
        ({"accept": {"vsa": [accepted(verifier=VERIFIER)]}}, "unknown_name"),
    ],
)
def test_an_entry_that_says_too_little_is_refused(change: Json, code: str) -> None:
    written = door(**change)
    written["spec"] = {name: value for name, value in written["spec"].items() if value is not None}
    assert code in problems(written)


def test_a_policy_that_trusts_nobody_is_refused() -> None:
    written = door()
    del written["spec"]["accept"]
    assert problems(written) == {"any_of"}


def test_what_a_policy_accepts_is_part_of_its_digest(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    (tmp_path / "policy.json").write_text(json.dumps(door(accepted(signer={"keys": [{"ref": "keys.json"}]}))))
    found = set()
    for status in ("active", "retired", "revoked"):
        listed = {"pem": public("old").pem.decode(), "keyid": public("old").keyid, "status": status}
        keys.write_text(json.dumps({"mediaType": MEDIA_TYPE, "keys": [listed]}))
        found.add(Policy.load(tmp_path / "policy.json").digest)
    assert len(found) == 3


def linted(written: Json, tmp_path: Path) -> set[str]:
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(written))
    return {problem.code for problem in lint_policies(path, NOW)}


def test_lint_warns_of_what_accepts_too_much(tmp_path: Path) -> None:
    fine = aged("7d")
    assert linted(fine, tmp_path) == set()
    assert linted(door(), tmp_path) == {"vsa_without_max_age"}
    loose = aged("7d")
    del loose["spec"]["accept"]["vsa"][0]["policy"]["digest"]
    assert linted(loose, tmp_path) == {"vsa_without_policy_digest"}
    assert linted(aged("7d", require={"sources": [STOREFRONT]}), tmp_path) == {"vsa_never_counts"}
    shared = aged("7d", trust=[trust("tekton", "verifier")], require={"namespaces": ["ci"]})
    assert linted(shared, tmp_path) == {"vsa_by_builder", "vsa_never_counts"}
    assert linted(door(accepted(maxLevel=1)), tmp_path) == {"vsa_without_max_age", "level_out_of_reach"}


def test_a_summary_that_must_exist_must_say_passed(tmp_path: Path) -> None:
    written = document(require={"predicates": [VSA], "namespaces": ["ci"]})
    assert linted(written, tmp_path) == {"vsa_unread"}
    older = document(
        require={"predicates": ["https://slsa.dev/verification_summary/v0.2"], "namespaces": ["ci"]}
    )
    assert linted(older, tmp_path) == {"vsa_unread"}
    signers = [{"predicateType": VSA, "keys": [{"pem": public("verifier").pem.decode()}]}]
    demanding = document(require={"predicates": [VSA]}, signers=signers)
    built, passed, refused = form_b(tekton()), held(vsa()), held(failed())
    unreadable = held(vsa(verificationResult="passed"))
    assert wrong(verdict(demanding, built, passed)) == {}
    assert wrong(verdict(demanding, built, refused, passed, unreadable)) == {}
    for bad in (refused, unreadable):
        found = verdict(demanding, built, bad)
        assert found.verdict is Verdict.FAILED
        assert wrong(found) == {"predicates": "verification_failed"}
    away = verdict(demanding, built, refused, Broken())
    assert away.verdict is Verdict.INDETERMINATE
    assert wrong(away) == {"predicates": "store_unavailable"}
    assert wrong(verdict(demanding, built)) == {"predicates": "predicate_missing"}


def test_lint_warns_of_an_identity_that_builds_and_verifies(tmp_path: Path) -> None:
    identity = {"san": "https://example.com/workflow", "issuer": "https://issuer.example.com"}
    entry = trust() | {"signer": {"identity": identity}}
    written = aged("7d", trust=[entry], require={})
    written["spec"]["accept"]["vsa"][0]["signer"] = {"identity": identity}
    assert "vsa_by_builder" in linted(written, tmp_path)
    written["spec"]["accept"]["vsa"][0]["signer"] = {
        "identity": identity | {"san": "https://example.com/other"}
    }
    assert "vsa_by_builder" not in linted(written, tmp_path)


def test_explain_says_whose_summaries_count_and_what_they_cannot_show() -> None:
    written = aged("7d", require={"level": 2, "sources": [STOREFRONT]})
    written["spec"]["accept"]["vsa"][0]["verifiedLevels"] = ["COMPANY_SCANNED"]
    (policy,) = parse_policies(json.dumps(written).encode(), "policy.json").policies
    told = "\n".join(explain([policy], read_image(PLACE)))
    assert (
        f"Accepted as security in place of provenance: a verification summary that says PASSED, by verifier {VERIFIER}"
        in told
    )
    assert f"It was made by policy {POLICY} with sha256:{'ab' * 32}. It was verified within 7 days" in told
    assert "It states COMPANY_SCANNED." in told
    assert "No verification summary meets: sources. Only provenance can show it." in told


@pytest.mark.parametrize("registry", ["registry.example.com:443", "registry.example.com"])
def test_the_default_port_hides_no_summary_of_the_image(registry: str) -> None:
    other = {"registry.example.com": "registry.example.com:443"}.get(registry, "registry.example.com")
    name = IMAGE.partition("/")[2]
    policy = door(match={"images": [IMAGE]})
    image = f"{registry}/{name}@{DIGEST}"
    passed = held(vsa(resourceUri=f"{other}/{name}@{DIGEST}"))
    assert wrong(verdict(policy, passed, image=image)) == {}
    elsewhere = held(vsa(resourceUri=f"registry.example.com:5000/{name}@{DIGEST}"))
    assert wrong(verdict(policy, elsewhere, image=image)) == {"vsa": "resource_mismatch"}
    refused = held(vsa(resourceUri=f"{other}/{name}@{DIGEST}", verificationResult="FAILED"))
    assert wrong(verdict(policy, passed, refused, image=image)) == {"vsa": "verification_failed"}
