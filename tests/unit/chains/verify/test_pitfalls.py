"""One test or more for each pitfall that other verifiers fell into, under its number in ``peers.md``, section 5.

Those about certificates, logs, timestamps, identities, VSAs and admission (6, 8, 13, 15, 16, 17, 22 to 25) come
with what they are about.
"""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest

from chains.errors import UsageError
from chains.statements.statement import SLSA_V1
from chains.tekton.snapshot import RunSnapshot, take_snapshot
from chains.verify.render import to_text
from chains.verify.verdict import Verdict, Verification, worst
from chains.verify.verifier import Verifier
from storage.record import Evidence, Skipped
from tests.faults.verify.forge import (
    BUILD_TYPE,
    BUILDER,
    DIGEST,
    HEX,
    IMAGE,
    NOW,
    OTHER,
    Json,
    Shelf,
    altered,
    ask,
    bundle,
    criteria,
    envelope,
    evidence,
    form_a,
    form_b,
    image_bundle,
    image_signature,
    old_provenance,
    provenance,
    public,
    reasons,
    results,
    signer,
    subject,
)

SOURCES = ["oci-referrer", "oci-att", "oci-sig", "oci-layout", "file"]


class Tags:
    """A registry whose tag moves with every look."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def resolve(self, reference: str) -> str:
        self.asked.append(reference)
        return DIGEST if len(self.asked) == 1 else f"sha256:{OTHER}"


def verify(target: str, shelf: Shelf, **more: Json) -> Verification:
    tags = more.pop("resolver", None)
    return asyncio.run(Verifier(criteria(), [shelf], resolver=tags, clock=lambda: NOW).target(target, **more))


def frozen(uid: str = "uid-1", **spec: Json) -> RunSnapshot:
    results = [
        {"name": "IMAGE_URL", "type": "string", "value": IMAGE},
        {"name": "IMAGE_DIGEST", "type": "string", "value": DIGEST},
    ]
    return take_snapshot(
        {
            "apiVersion": "tekton.dev/v1",
            "kind": "TaskRun",
            "metadata": {"name": "r", "namespace": "ns", "uid": uid},
            "spec": spec,
            "status": {"results": results, "conditions": [{"type": "Succeeded", "status": "True"}]},
        }
    )


@pytest.mark.parametrize("target", [f"{IMAGE}:v1", IMAGE, "localhost:5000/app:latest", f"oci://{IMAGE}:v1"])
def test_pitfall_1_tags_are_refused_and_the_error_says_what_to_do(target: str) -> None:
    shelf = Shelf(form_a(provenance()))
    with pytest.raises(UsageError, match="--resolve"):
        verify(target, shelf, resolver=Tags())
    assert shelf.asked == []


def test_pitfall_1_a_tag_is_resolved_once_and_the_digest_is_printed_and_used() -> None:
    shelf, tags = Shelf(form_a(provenance())), Tags()
    found = verify(f"{IMAGE}:v1", shelf, resolve=True, resolver=tags)
    assert tags.asked == [f"{IMAGE}:v1"]
    assert shelf.asked == [(DIGEST, IMAGE)]
    assert found.verdict is Verdict.VERIFIED
    assert found.to_json()["subject"] == {"ref": f"{IMAGE}@{DIGEST}", "digest": {"sha256": HEX}}
    assert to_text(found).startswith(f"VERIFIED {IMAGE}@\n  {DIGEST}\n")
    assert f"tag {IMAGE}:v1, resolved once" in to_text(found, verbose=True)


def test_pitfall_2_subjects_match_by_digest_alone_and_names_mean_nothing() -> None:
    right_name = form_a(provenance(subject(OTHER, IMAGE)))
    assert reasons(ask(right_name)) == {"subject_mismatch"}
    for name in ("", "registry.evil.example/other", "../../etc"):
        assert ask(form_a(provenance(subject(HEX, name)))).verdict is Verdict.VERIFIED


def test_pitfall_2_any_of_many_subjects_matches_and_a_prefix_of_a_digest_never_does() -> None:
    many = [subject(f"{number:064x}") for number in range(1000)]
    assert ask(form_a(provenance(*many, subject()))).verdict is Verdict.VERIFIED
    for wrong in (HEX[:-2], HEX + "00", HEX.replace("a", "b")):
        assert reasons(ask(form_a(provenance(subject(wrong))))) == {"subject_mismatch"}


def test_pitfall_2_every_algorithm_in_common_must_agree() -> None:
    run = frozen()
    both = {"name": IMAGE, "digest": {"sha512": "ab" * 64}}
    assert reasons(ask(form_a(provenance(both)))) == {"subject_mismatch"}
    statement = provenance({"name": IMAGE, "digest": {"sha256": HEX, "sha512": "00"}})
    found = asyncio.run(Verifier(criteria(), [Shelf(form_a(statement))], clock=lambda: NOW).run(run))
    assert found.verdict is Verdict.FAILED


@pytest.mark.parametrize("form", [form_a, form_b])
def test_pitfall_3_the_predicate_type_is_compared_exactly(form: Json) -> None:
    for kind in (
        SLSA_V1 + "/",
        SLSA_V1.upper(),
        SLSA_V1 + "\n",
        " " + SLSA_V1,
        "slsaprovenance1",
        SLSA_V1[:-1],
    ):
        found = ask(form(provenance(predicateType=kind)))
        assert found.verdict is Verdict.FAILED
        assert reasons(found) == {"predicate_type_mismatch"}


def test_pitfall_3_the_type_that_a_store_claims_is_not_believed() -> None:
    other = provenance(predicateType="https://example.com/other")
    claimed = evidence(bundle(other), annotations={"dev.sigstore.bundle.predicateType": SLSA_V1})
    assert reasons(ask(claimed)) == {"predicate_type_mismatch"}


def test_pitfall_3_each_attestation_is_compared_by_itself_and_a_parse_error_fails_it() -> None:
    unreadable = form_a(b'{"_type": "https://in-toto.io/Statement/v1", "predicateType": 5}')
    found = ask(unreadable, form_a(provenance(predicateType="x")))
    assert found.verdict is Verdict.FAILED
    assert reasons(found) == {"statement_invalid", "predicate_type_mismatch"}


def test_pitfall_4_nothing_verified_is_never_success() -> None:
    nothing: list[tuple[Json, ...]] = [
        (),
        (image_signature(),),
        (image_bundle(),),
        (form_a(provenance(), signer("stranger")),),
        (evidence(b"", "bundle-v0.3"),),
        (evidence(b"{}", "dsse"),),
        (evidence(bundle(provenance()), "unheard-of"),),
        (Shelf(skipped=[Skipped("x", "", "y")]),),
    ]
    for held in nothing:
        assert ask(*held).exit_code in {1, 3}
    assert worst([]) is Verdict.INDETERMINATE
    with pytest.raises(UsageError, match="nobody to trust"):
        criteria(keys=[])
    with pytest.raises(UsageError, match="no store to look for evidence"):
        asyncio.run(Verifier(criteria(), clock=lambda: NOW).target(DIGEST))
    assert asyncio.run(Verifier(criteria(), [Shelf()], clock=lambda: NOW).targets([])) == []


def test_pitfall_4_one_good_target_does_not_make_up_for_another() -> None:
    order = [Verdict.VERIFIED, Verdict.NOT_FOUND, Verdict.INDETERMINATE, Verdict.FAILED]
    for position, verdict in enumerate(order):
        assert worst(order[: position + 1]) is verdict
        assert worst(reversed(order[: position + 1])) is verdict


@pytest.mark.parametrize("form", ["hint", "keyid", "legacy", "annotation", "pem-in-signature"])
def test_pitfall_5_a_key_inside_the_evidence_is_never_used(form: str) -> None:
    thief = signer("thief")
    pem = thief.public_pem.decode()
    data, more = bundle(provenance(), thief), {}

    def change(members: Json) -> None:
        material = members["verificationMaterial"]
        signature = members["dsseEnvelope"]["signatures"][0]
        if form == "hint":
            material["publicKey"] = {"hint": thief.keyid, "rawBytes": base64.b64encode(pem.encode()).decode()}
        elif form == "keyid":
            signature["keyid"] = material["publicKey"]["hint"] = pem
        elif form == "legacy":
            members |= {"cert": pem, "base64Signature": signature["sig"]}
        elif form == "pem-in-signature":
            signature["publicKey"] = pem

    if form == "annotation":
        more = {"annotations": {"dev.sigstore.cosign/certificate": pem, "publicKey": pem}}
    found = ask(evidence(altered(data, change), **more))
    assert found.verdict is Verdict.FAILED
    assert reasons(found) <= {"key_unknown", "keyless_unsupported"}
    assert found.attestations == () or found.attestations[0].statement is None


def test_pitfall_5_naming_our_key_does_not_make_a_strangers_evidence_ours() -> None:
    def name_us(members: Json) -> None:
        members["verificationMaterial"]["publicKey"]["hint"] = public().keyid
        members["dsseEnvelope"]["signatures"][0]["keyid"] = public().keyid

    found = ask(evidence(altered(bundle(provenance(), signer("thief")), name_us)))
    assert found.verdict is Verdict.FAILED
    assert reasons(found) == {"signature_invalid"}


def test_pitfall_5_a_keyless_bundle_is_never_verified_by_a_key() -> None:
    def keyless(members: Json) -> None:
        members["verificationMaterial"] = {"certificate": {"rawBytes": base64.b64encode(b"DER").decode()}}

    # even our own signature does not count: who says that it is keyless is verified as such, or not at all
    held = evidence(altered(bundle(provenance()), keyless))
    found = ask(held)
    assert found.verdict is Verdict.FAILED
    assert [each.reason.value for each in found.skipped] == ["keyless_unsupported"]
    assert found.attestations == ()
    assert ask(held, form_a(provenance())).verdict is Verdict.VERIFIED


@pytest.mark.parametrize("source", SOURCES)
def test_pitfall_7_a_forged_envelope_is_refused_on_every_path_of_discovery(source: str) -> None:
    forged: list[Evidence] = []
    for by in ("stranger", "thief"):
        forged.append(evidence(envelope(provenance(), signer(by)).to_bytes(), "dsse", source))
        forged.append(evidence(bundle(provenance(), signer(by)), "bundle-v0.3", source))
    empty = altered(
        envelope(provenance()).to_bytes(), lambda members: members["signatures"][0].update(sig="")
    )
    forged.append(evidence(empty, "dsse", source))
    forged.append(evidence(b'{"payload":"","payloadType":"","signatures":[{"sig":""}]}', "dsse", source))
    annotations = {"in-toto.io/predicate-type": SLSA_V1, "verified": "true"}
    forged.append(
        evidence(bundle(provenance(), signer("thief")), "bundle-v0.3", source, annotations=annotations)
    )
    for one in forged:
        found = ask(one)
        assert found.verdict is Verdict.FAILED
        assert not any(each.used for each in found.attestations)
    assert ask(*forged).verdict is Verdict.FAILED


def test_pitfall_9_the_right_builder_id_by_the_wrong_signer_is_worth_nothing() -> None:
    found = ask(form_a(provenance(), signer("stranger")), by=criteria(builder_id=BUILDER))
    assert found.verdict is Verdict.FAILED
    assert reasons(found) == {"key_unknown"}
    assert "builder" not in results(found)


def unfolded(found: Verification) -> str:
    return to_text(found, verbose=True, width=2000)


def test_pitfall_9_the_text_says_for_whose_sake_a_builder_id_is_believed() -> None:
    assert f"{BUILDER}, believed for the signer's sake" in unfolded(ask(by=criteria(builder_id=BUILDER)))


def test_pitfall_10_an_external_parameter_that_the_run_does_not_have_fails() -> None:
    run = frozen(serviceAccountName="builder")
    from chains.statements import slsa_v1

    options = slsa_v1.Options(builder_id=BUILDER, build_type=BUILD_TYPE)
    statement = slsa_v1.build_v2alpha4(run, options)

    def ask_run(data: bytes) -> Verification:
        return asyncio.run(Verifier(criteria(), [Shelf(form_b(data))], clock=lambda: NOW).run(run))

    assert ask_run(statement.to_bytes()).verdict is Verdict.VERIFIED
    external = statement.predicate["buildDefinition"]["externalParameters"]
    external["debug"] = "true"
    found = ask_run(statement.to_bytes())
    assert found.verdict is Verdict.FAILED
    (check,) = [check for check in found.checks if check.id == "statement-matches-run"]
    assert check.reason is not None
    assert check.reason.value == "external_parameter_unknown"
    assert check.expected.startswith("predicate.buildDefinition.externalParameters.debug = nothing")
    assert '"true"' in check.actual


def test_pitfall_11_valid_provenance_of_another_artifact_or_run_is_a_replay() -> None:
    assert reasons(ask(form_a(provenance(subject(OTHER))))) == {"subject_mismatch"}
    replay = form_a(provenance(uid="uid-of-last-week"))
    found = asyncio.run(Verifier(criteria(), [Shelf(replay)], clock=lambda: NOW).run(frozen()))
    assert found.verdict is Verdict.FAILED
    assert "run_mismatch" in reasons(found)
    (check,) = [check for check in found.checks if check.id == "invocation-id"]
    assert (check.expected, check.actual) == ("uid-1", "uid-of-last-week")


def test_pitfall_12_a_foreign_bundle_does_not_hide_our_envelope() -> None:
    foreign = [form_b(provenance(), signer("stranger")), form_b(old_provenance(), signer("stranger"))]
    found = ask(*foreign, form_a(provenance()))
    assert found.verdict is Verdict.VERIFIED
    assert [each.used for each in found.attestations] == [False, False, True]
    broken = evidence(b"\xff", "bundle-v0.3", "oci-referrer")
    assert ask(broken, form_a(provenance())).verdict is Verdict.VERIFIED


def test_pitfall_14_only_checks_that_ran_are_told_as_passed() -> None:
    text = to_text(ask(form_b(provenance())), verbose=True)
    assert "transparency" not in text
    assert "offline" not in text
    assert "builder id      not asked for" in text
    failed = ask(form_b(provenance(), signer("stranger")))
    assert {check.id for check in failed.checks if check.result.value == "pass"} == {"evidence"}
    alone = Verifier(criteria(), clock=lambda: NOW).judge_bundle(bundle(provenance()), ref="b.json")
    assert results(alone)["subject"] == "skip"


def test_pitfall_18_evidence_about_a_platforms_manifest_is_none_about_its_index() -> None:
    platform = form_a(provenance(subject(OTHER)))
    found = ask(platform)
    assert found.verdict is Verdict.FAILED
    (check,) = [check for check in found.checks if check.id == "subject"]
    assert (check.expected, check.actual) == (DIGEST, f"sha256:{OTHER}")
    assert ask(platform, digest=f"sha256:{OTHER}").verdict is Verdict.VERIFIED
    assert ask(form_a(provenance(subject(), subject(OTHER))), digest=f"sha256:{OTHER}").exit_code == 0


def test_pitfall_19_hundreds_of_referrers_do_not_hide_ours() -> None:
    others = [form_b(provenance(uid=f"{number}"), signer("stranger")) for number in range(300)]
    found = ask(*others, form_b(provenance()))
    assert found.verdict is Verdict.VERIFIED
    assert len(found.attestations) == 301


def test_pitfall_20_everything_skipped_is_listed_with_its_reason() -> None:
    held = Shelf(
        evidence(b"not json", "bundle-v0.3"),
        evidence(bundle(provenance()), "bundle-v9"),
        form_a(provenance(), signer("stranger")),
        form_a(provenance()),
        skipped=[Skipped("registry/x@sha256:2", "sha256:2", "the registry does not have this blob")],
    )
    found = ask(held)
    assert found.verdict is Verdict.VERIFIED
    told = [*found.to_json()["attestations"], *found.to_json()["skipped"]]
    assert len(told) == 5
    assert all(each.get("used") or (each["reason"] and each["detail"]) for each in told)
    assert "the registry does not have this blob" in to_text(found, verbose=True)


def test_pitfall_21_a_signature_bundle_is_no_attestation_and_says_so() -> None:
    found = ask(image_bundle(), form_b(provenance()))
    assert found.verdict is Verdict.VERIFIED
    assert [each.used for each in found.attestations] == [False, True]
    assert found.attestations[0].detail.startswith("image signature")
    assert ask(image_bundle()).verdict is Verdict.NOT_FOUND


def test_pitfall_5_a_key_file_is_no_evidence(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.write_bytes(signer().public_pem)
    found = verify(str(path), Shelf(form_a(provenance())))
    assert found.verdict is Verdict.INDETERMINATE
    assert reasons(found) == {"target_unreadable"}
