"""A page says what was confirmed and by whom, never more, and what nobody said."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta

import pytest

from chains.columns import columns_of
from chains.inspection.contents import Inspector
from chains.inspection.named_run import RunNamed
from chains.inspection.page import SCHEMA, Page, page_of
from chains.inspection.page_text import page_to_text
from chains.revocation.revocations import Revocations
from chains.statements.statement import SCAI, SLSA_V1
from chains.statements.vsa import VSA
from chains.text import to_json
from chains.verify.search import Search
from chains.verify.verdict import Target
from signers.keys.keyset import ListedKey
from storage.record import SkipKind, Skipped
from tests.faults.verify.forge import (
    BUILDER,
    DIGEST,
    HEX,
    IMAGE,
    NOW,
    OTHER,
    Broken,
    Shelf,
    bundle,
    criteria,
    evidence,
    form_a,
    form_b,
    image_bundle,
    image_signature,
    old_provenance,
    provenance,
    public,
    signer,
    subject,
    with_payload,
)
from tests.faults.verify.sigstore import IDENTITY, ISSUER, by_identity, golden
from tests.faults.verify.sigstore import NOW as GOLDEN_NOW
from tests.unit.chains.inspection.made import COMMIT, REPOSITORY, file_page, github_v02, github_v1, page
from tests.unit.chains.lineage.test_forms import HOSTILE, hostile
from tests.unit.chains.revocation.made import revoked


def report(uid: str = "uid-1", level: str = "enforced", snapshot: str = "5" * 64) -> object:
    run = {"name": "taskrun/ci/build", "digest": {"sha256": snapshot}}
    return provenance(
        predicateType=SCAI,
        predicate={
            "attributes": [
                {
                    "attribute": "RUN_OUTCOME",
                    "target": run,
                    "conditions": {"uid": uid, "outcome": "succeeded", "startedOn": "2026-01-02T03:04:05Z"},
                },
                {
                    "attribute": "HERMETIC_LEVEL",
                    "target": run,
                    "conditions": {"level": level, "reason": "no network for 1 of 1 containers"},
                },
            ]
        },
    )


def test_confirmed_evidence_is_one_build_with_its_signer_and_copies() -> None:
    found = page(form_a(provenance()), form_b(provenance()), form_a(report()))
    assert (found.verdict, found.exit_code) == ("VERIFIED", 0)
    (build,) = found.builds
    assert [one.predicate_type for one in build.confirmed] == [SLSA_V1, SCAI]
    assert {one.key for one in build.confirmed} == {public().keyid}
    assert len(build.confirmed[0].places) == 2
    assert build.facts.builder == BUILDER
    assert (build.facts.run, build.facts.run_uid) == ("taskrun/ci/build", "uid-1")
    assert build.facts.hermetic_level == "enforced"
    assert "no verified time of the signature" in " ".join(build.missing)
    assert found.not_used == ()


def test_a_report_about_another_run_or_by_another_signer_is_not_told_of_this_build() -> None:
    found = page(form_a(provenance()), form_a(report("uid-2")), form_a(report(), signer("stranger")))
    own, other = found.builds
    assert own.facts.hermetic_level == ""
    assert own.facts.run_uid == "uid-1"
    assert "no execution report about this run: isolation and outcome are not known" in own.missing
    assert other.facts.run_uid == "uid-2"
    assert "no provenance that names this run: source, parameters and inputs are not known" in other.missing
    (left,) = found.not_used
    assert left.reason == "key_unknown"


def test_old_provenance_names_no_run_so_that_no_report_is_tied_to_it() -> None:
    own, other = page(form_a(old_provenance()), form_a(report())).builds
    assert own.facts.hermetic_level == ""
    assert "no UID of the run: SLSA v0.2 has no field for it, so no report can be tied to it" in own.missing
    assert other.facts.hermetic_level == "enforced"


@pytest.mark.parametrize(
    ("held", "verdict", "code", "reason"),
    [
        ([form_a(provenance(), signer("stranger"))], "FAILED", 1, "key_unknown"),
        ([form_a(provenance(subject(OTHER)))], "FAILED", 1, "subject_mismatch"),
        ([evidence(with_payload(bundle(provenance()), lambda s: s.update(extra=1)))], "FAILED", 1, "signature_invalid"),
        ([Broken()], "INDETERMINATE", 4, ""),
        ([], "NOT_FOUND", 3, ""),
    ],
)  # fmt: skip
@pytest.mark.parametrize("claim", ["https://evil.example/builder"])
def test_what_does_not_verify_is_never_shown_as_good(
    held: list[object], verdict: str, code: int, reason: str, claim: str
) -> None:
    found = page(*held)  # type: ignore[arg-type]
    assert (found.verdict, found.exit_code) == (verdict, code)
    assert found.builds == ()
    assert found.others == ()
    assert [one.reason for one in found.not_used] == ([reason] if reason else [])
    told = page_to_text(found)
    assert told.startswith(f"{verdict} {IMAGE}@")
    assert "CONFIRMED" not in told
    assert claim not in told
    assert BUILDER not in told


def test_good_evidence_beside_forged_evidence_is_not_shown() -> None:
    forged = evidence(with_payload(bundle(provenance()), lambda s: s.update(extra=1)))
    found = page(form_a(provenance()), forged)
    assert found.verdict == "FAILED"
    assert found.builds == ()
    assert "it passed every check, but the verdict is not VERIFIED" in [one.detail for one in found.not_used]


def test_what_a_revocation_list_takes_away_is_not_shown() -> None:
    both = [public(), public("second")]
    held = form_a(provenance()), form_a(report(), signer("second"))
    assert len(page(*held, keys=both).builds) == 2
    (build,) = page(*held, keys=both, revocations=revoked({"key": public("second").keyid})).builds
    assert build.facts.hermetic_level == ""
    gone = page(*held, keys=both, revocations=revoked({"key": public().keyid}))
    assert (gone.verdict, gone.builds) == ("FAILED", ())
    unusable = page(*held, keys=both, revocations=Revocations(problems=("list x: is away",)))
    assert (unusable.verdict, unusable.exit_code, unusable.builds) == ("INDETERMINATE", 4, ())


def test_a_key_outside_of_its_window_is_not_shown() -> None:
    ended = ListedKey(public("second"), not_after=NOW - timedelta(days=1))
    windows = {ended.key.keyid: ended}
    held = form_a(provenance()), form_a(report(), signer("second"))
    found = page(*held, keys=[public(), public("second")], windows=windows)
    (build,) = found.builds
    assert build.facts.hermetic_level == ""
    assert len(found.not_used) == 1


def test_evidence_of_a_stranger_beside_ours_is_listed_with_the_reason() -> None:
    found = page(form_a(provenance()), form_a(provenance(builder="https://evil.example"), signer("stranger")))
    assert found.verdict == "VERIFIED"
    assert [one.facts.builder for one in found.builds] == [BUILDER]
    assert [one.reason for one in found.not_used] == ["key_unknown"]
    assert "https://evil.example" not in page_to_text(found)


def test_without_anybody_to_trust_everything_is_a_claim_and_nothing_is_decided() -> None:
    held = form_a(provenance(), signer("stranger")), form_a(report(), signer("ours"))
    found = page(*held, image_signature(), trusts=False)
    assert (found.verdict, found.exit_code) == ("UNVERIFIED", 4)
    (build,) = found.builds
    assert [one.signer for one in build.confirmed] == ["", ""]
    assert build.facts.hermetic_level == "enforced"
    assert found.passed == ()
    told = page_to_text(found)
    assert "\n  nothing was verified: these are claims of whoever can write to the store" in told
    assert "BUILD, as claimed: taskrun/ci/build" in told
    assert "CONFIRMED" not in told
    assert [one.detail for one in found.not_used] == [
        "an image signature: it says nothing about how the image was made"
    ]


@pytest.mark.parametrize(
    ("held", "verdict", "code"),
    [
        ([], "NOT_FOUND", 3),
        ([image_signature(), image_bundle()], "NOT_FOUND", 3),
        ([Broken()], "INDETERMINATE", 4),
        ([form_a(provenance(subject(OTHER)))], "FAILED", 1),
        ([form_a({"no": "statement"})], "FAILED", 1),
    ],
)
def test_what_cannot_be_read_is_no_claim(held: list[object], verdict: str, code: int) -> None:
    found = page(*held, trusts=False)  # type: ignore[arg-type]
    assert (found.verdict, found.exit_code) == (verdict, code)
    assert found.builds == ()


def test_bytes_that_are_not_those_of_their_digest_are_no_claim() -> None:
    good = form_a(provenance())
    other = evidence(form_a(provenance(uid="other")).data, "dsse", digest=good.digest)
    assert page(other, trusts=False).builds == ()


def test_what_a_store_skips_is_listed() -> None:
    skipped = Skipped("registry:tag", "sha256:" + "1" * 64, "an SBOM", SkipKind.FOREIGN)
    found = page(Shelf(form_a(provenance()), skipped=[skipped]))
    assert [(one.location, one.detail) for one in found.not_used] == [("registry:tag", "an SBOM")]


def test_provenance_of_github_says_what_is_there_and_what_is_not() -> None:
    (build,) = page(form_a(github_v1())).builds
    facts = build.facts
    assert [(one.uri, one.digests) for one in facts.sources] == [
        (f"{REPOSITORY}@refs/heads/main", (f"gitCommit:{COMMIT}",))
    ]
    assert facts.builder.endswith("build.yml@refs/heads/main")
    assert facts.invocation == "https://github.com/octo-org/octo-repo/actions/runs/7/attempts/1"
    assert {one.name: one.value for one in facts.parameters} == {
        "workflow.ref": "refs/heads/main",
        "workflow.repository": "https://github.com/octo-org/octo-repo",
        "workflow.path": ".github/workflows/build.yml",
    }
    assert (facts.run, facts.run_uid, facts.steps, facts.definitions, facts.hermetic_level) == (
        "",
        "",
        (),
        (),
        "",
    )
    assert "no start or no end: how long the build took is not known" in build.missing
    assert "no execution report about this run: other builders write none" in build.missing
    assert not [one for one in build.missing if "Task" in one or "steps" in one]


def test_old_provenance_of_a_generator_says_what_is_there_and_what_is_not() -> None:
    (build,) = page(form_a(github_v02())).builds
    facts = build.facts
    assert [(one.uri, one.digests) for one in facts.sources] == [
        (f"{REPOSITORY}@refs/tags/v1", (f"sha1:{COMMIT}",))
    ]
    assert [(one.role, one.path) for one in facts.definitions] == [
        ("definition", ".github/workflows/release.yml")
    ]
    assert (facts.invocation, facts.run, facts.steps, facts.parameters) == ("7-1", "", (), ())
    assert "no parameters: the run had none, or they are not recorded" in build.missing
    assert not [one for one in build.missing if "UID" in one]


def test_a_summary_of_another_verifier_is_told_apart_from_builds() -> None:
    predicate = {
        "verifier": {"id": "https://verifier.example"},
        "verificationResult": "PASSED",
        "verifiedLevels": ["SLSA_BUILD_LEVEL_3"],
    }
    found = page(form_a(provenance()), form_a(provenance(predicateType=VSA, predicate=predicate)))
    assert len(found.builds) == 1
    (other,) = found.others
    assert {one.name: one.value for one in other.facts} == {
        "verifier": "https://verifier.example",
        "result": "PASSED",
        "levels": "SLSA_BUILD_LEVEL_3",
        "subject": f"{IMAGE} sha256:{HEX}",
    }
    assert other.confirmed.key == public().keyid


@pytest.mark.parametrize(
    "statement", [provenance(), report(), provenance(predicateType="https://example.com/sbom")]
)
def test_a_file_may_have_a_statement_of_any_type_unless_one_is_demanded(statement: object) -> None:
    data = bundle(statement)
    assert file_page(data).verdict == "VERIFIED"
    assert file_page(data, trusts=False).verdict == "UNVERIFIED"
    assert file_page(bundle(statement, signer("stranger"))).verdict == "FAILED"
    assert file_page(data, predicate_types=["https://example.com/other"]).verdict == "FAILED"


@pytest.mark.parametrize("trusts", [True, False])
def test_a_named_run_counts_statements_that_name_its_uid_and_its_name(trusts: bool) -> None:
    held = [form_a(provenance()), form_a(report()), form_a(provenance(uid="uid-2")), form_a(old_provenance())]

    def named(label: str) -> Page:
        inspector = Inspector(criteria() if trusts else None, stores=[Shelf(*held)], clock=lambda: NOW)
        target, wanted = Target(label, {}, "uid-1"), RunNamed("uid-1", label)
        found = inspector._conclude(target, wanted, Search(tuple(held)))
        return page_of(found, inspector.contents(found))

    (build,) = named("taskrun/ci/build").builds
    assert (build.facts.run_uid, build.facts.hermetic_level) == ("uid-1", "enforced")
    assert len(named("taskrun/ci/build").not_used) == 2
    other = named("taskrun/ci/another")
    if trusts:
        assert (other.verdict, other.builds) == ("FAILED", ())
        assert "a report by which run uid-1 is taskrun/ci/build" in other.summary
    else:
        assert (other.verdict, [one.facts.hermetic_level for one in other.builds]) == ("UNVERIFIED", [""])


def test_a_name_that_no_report_confirms_is_not_confirmed_and_its_uid_is() -> None:
    """Who can write to a store says which UID a name has."""
    held = [form_a(provenance())]

    def named(ref: str, label: str) -> Page:
        inspector = Inspector(criteria(), stores=[Shelf(*held)], clock=lambda: NOW)
        found = inspector._conclude(Target(ref, {}, "uid-1"), RunNamed("uid-1", label), Search(tuple(held)))
        return page_of(found, inspector.contents(found))

    asked = named("taskrun/prod/release", "taskrun/prod/release")
    assert (asked.verdict, asked.builds) == ("INDETERMINATE", ())
    assert "only the store says that this is the name of run uid-1: name the run by its UID" in asked.summary
    assert named("uid-1", "").verdict == "VERIFIED"


@pytest.mark.parametrize("trusts", [True, False])
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_stays_text_and_json_is_whole(name: str, trusts: bool) -> None:
    statement = json.loads(
        json.dumps(provenance(subject(HEX, HOSTILE[name]), builder=HOSTILE[name], uid=HOSTILE[name]))
    )
    definition = statement["predicate"]["buildDefinition"]
    definition["externalParameters"] = {
        "runSpec": {
            "params": [{"name": HOSTILE[name], "value": HOSTILE[name]}],
            "taskRef": {"name": HOSTILE[name]},
        }
    }
    definition["resolvedDependencies"] = [
        {"name": "task", "uri": HOSTILE[name], "digest": {"sha1": HOSTILE[name][:90] or "x"}}
    ]
    found = page(form_a(statement), hostile(HOSTILE[name], 0), trusts=trusts)
    for width in (40, 80, 100):
        lines = page_to_text(found, width).split("\n")
        assert all(columns_of(line) <= width for line in lines)
        assert all(line.isprintable() for line in lines)
        assert len(lines) < 400
    written = to_json(found.to_json())
    assert written.isprintable()
    told = json.loads(written)
    assert told["schema"] == SCHEMA
    assert told["builds"][-1]["facts"]["parameters"][-1]["value"] == HOSTILE[name]


@pytest.mark.parametrize("width", [77, 80, 100])
def test_a_digest_is_never_cut(width: int) -> None:
    told = page_to_text(page(form_a(github_v1()), form_b(provenance(subject(), subject(OTHER)))), width)
    assert f"sha256:{OTHER}" in told
    assert f"gitCommit:{COMMIT}" in told
    assert f"sha256:{HEX}" in told


def test_a_certificates_identity_is_told_with_the_times_and_logs_that_confirm_it() -> None:
    inspector = Inspector(
        by_identity(),
        stores=[Shelf(golden("certificate-v1"), golden("certificate-v1", "att"))],
        clock=lambda: GOLDEN_NOW,
    )
    found = asyncio.run(inspector.digest(DIGEST, IMAGE, ref=IMAGE))
    shown = page_of(found, inspector.contents(found))
    (build,) = shown.builds
    (said,) = build.confirmed
    assert (said.key, said.identity, said.issuer) == ("", IDENTITY, ISSUER)
    assert said.times
    assert all(one.source in {"Tlog", "TimestampAuthority"} and one.time < "2026-11-22" for one in said.times)
    assert said.log_entries
    assert len(said.places) == 2
    assert not [one for one in build.missing if "verified time" in one]
    told = " ".join(page_to_text(shown).split())
    assert (
        f"confirmed with identity {IDENTITY}, issued by {ISSUER}, at {said.times[0].time} ({said.times[0].source} "
        in told
    )
