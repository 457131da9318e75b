"""One test or more for each ask or failure of other engines' users; the numbers are those of the list in the docs.

More about caches (8, 16) is in ``tests/unit/chains/admission``, about running pods (9) in ``tests/unit/chains/preflight``,
about summaries that were found and do not count (10), and those of another policy (18), in ``test_accepted``, and about
those that are signed (13, 17) in ``tests/unit/chains/cli/policies``.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from chains.admission.answers import Answers
from chains.admission.policies import PolicySet
from chains.cli.main import run as chains
from chains.policy.answer import answer
from chains.policy.document.patterns import read_image
from chains.policy.document.policy import Namespace
from chains.policy.render import answers_to_text
from chains.policy.verdict import Decision, ImageAnswer
from chains.tekton.workloads import uses_of
from chains.verify.verdict import Verdict
from tests.faults.verify.forge import (
    BUILDER,
    DIGEST,
    IMAGE,
    NOW,
    Broken,
    Shelf,
    evidence,
    form_b,
    signer,
    to_bytes,
)
from tests.unit.chains.policy.made import (
    REF,
    decided,
    document,
    opened,
    problems,
    report,
    tekton,
    trust,
    verdict,
    wrong,
)
from tests.unit.chains.policy.summaries import POLICY, accepted, door, held, vsa

Json = Any
EXEMPTION = {"until": "2027-01-01T00:00:00Z", "reason": "r", "reference": "T-1"}


def test_1_builders_have_levels_and_missing_and_unavailable_have_words_of_their_own() -> None:
    written = document(trust=[trust(level=1)], require={"level": 2}, missing="warn", cacheSeconds=30)
    assert wrong(verdict(written, form_b(tekton()))) == {"level": "level_too_low"}
    assert verdict(written).decision is Decision.WARN
    assert verdict(written, Broken()).decision is Decision.DENY
    assert opened(written)[0].policy.cache_seconds == 30


def test_2_a_policy_warns_before_it_enforces() -> None:
    assert verdict(document(mode="warn")).decision is Decision.WARN


def test_3_a_policy_is_for_one_namespace_alone() -> None:
    written = document()
    written["spec"]["match"]["namespaces"] = {"names": ["shop"]}
    assert decided(written, namespace=Namespace("shop"))
    assert decided(written, namespace=Namespace("shop-2")) is None


def test_4_an_exemption_of_one_image_is_none_of_its_neighbour() -> None:
    exempt = {"image": f"{IMAGE}@{DIGEST}", "rules": ["level"], **EXEMPTION}
    written = document(images=["registry.example.com/team/*"], require={"level": 3}, exemptions=[exempt])
    assert verdict(written, form_b(tekton())).verdict is Verdict.VERIFIED
    other = f"registry.example.com/team/other@{DIGEST}"
    assert wrong(verdict(written, form_b(tekton()), image=other)) == {"level": "level_too_low"}


def test_5_every_container_is_an_image_to_the_policy() -> None:
    # there is one list: who asks gives images, and no kind of container has a way of its own
    assert "container" not in json.dumps(document())


def test_6_two_exemptions_of_one_rule_for_two_images_are_taken() -> None:
    both = [{"image": image, "rules": ["level"], **EXEMPTION} for image in (IMAGE, IMAGE + "2")]
    assert not problems(document(exemptions=both))


def test_5_an_exemption_of_an_image_reaches_every_kind_of_container_and_no_other_image() -> None:
    names = ("initContainers", "containers", "ephemeralContainers")
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {name: [{"name": name.lower(), "image": REF}] for name in names},
    }
    uses = list(uses_of(pod))
    assert sorted(use.container for use in uses) == sorted(name.lower() for name in names)
    exempt = {"image": f"{IMAGE}@{DIGEST}", "rules": ["level"], **EXEMPTION}
    written = document(require={"level": 3}, exemptions=[exempt])
    for use in uses:
        assert verdict(written, form_b(tekton()), image=use.image).decision is Decision.ALLOW


@pytest.mark.parametrize("missing", ["until", "reason", "reference"])
def test_7_an_exemption_has_an_end_a_reason_and_a_reference(missing: str) -> None:
    exempt = {"image": IMAGE, "rules": ["level"], **EXEMPTION}
    del exempt[missing]
    assert problems(document(exemptions=[exempt])) == {"missing_name"}


def test_7_an_expired_exemption_is_named_where_it_would_have_counted() -> None:
    exempt = {"image": IMAGE, "rules": ["level"], **EXEMPTION, "until": "2026-01-01T00:00:00Z"}
    found = decided(document(require={"level": 3}, exemptions=[exempt]), form_b(tekton()))
    assert found is not None
    assert "an exemption ended at 2026-01-01T00:00:00Z: r (T-1)" in answers_to_text([found])


def _ruled(answers: Answers, written: Json) -> Decision:
    policies = PolicySet.of(opened(written))
    return asyncio.run(answers.ask(policies, policies.policies, read_image(REF))).decision


def test_8_a_pass_that_was_kept_skips_no_condition_that_came_later() -> None:
    shelf = Shelf(form_b(tekton()))
    answers = Answers([shelf], now=lambda: NOW)
    assert _ruled(answers, document()) is Decision.ALLOW
    assert _ruled(answers, document()) is Decision.ALLOW
    assert len(shelf.asked) == 1
    assert _ruled(answers, document(require={"level": 3})) is Decision.DENY
    assert len(shelf.asked) == 2


def test_9_no_verdict_outlives_its_evidence() -> None:
    for held_now, expected in (((form_b(tekton()),), Verdict.VERIFIED), ((), Verdict.NOT_FOUND)):
        written = verdict(document(), *held_now)
        assert written.verdict is expected
        assert written.to_json()["verifiedAt"] == "2026-10-05T09:00:00Z"
        assert written.to_json()["policy"]["digest"] == opened(document())[0].policy.digest


def test_10_evidence_that_was_found_and_not_verified_is_nothing() -> None:
    assert verdict(document(), form_b(tekton(), signer("stranger"))).verdict is Verdict.FAILED


def test_11_an_unsigned_statement_is_denied_although_a_signer_is_named() -> None:
    unsigned = evidence(
        json.dumps({"payloadType": "application/vnd.in-toto+json", "payload": "", "signatures": []}).encode()
    )
    bare = evidence(to_bytes(tekton()), "dsse")
    found = verdict(document(), unsigned, bare)
    assert found.verdict is not Verdict.VERIFIED
    assert found.decision is Decision.DENY


def test_12_signers_of_one_type_do_not_filter_the_others() -> None:
    scanned = "https://example.com/scan/v1"
    scan = tekton() | {"predicateType": scanned, "predicate": {}}
    signers = [{"predicateType": scanned, "keys": trust("x", "scanner")["signer"]["keys"]}]
    written = document(require={"predicates": [scanned]}, signers=signers)
    assert verdict(written, form_b(tekton()), form_b(scan, signer("scanner"))).verdict is Verdict.VERIFIED


def test_13_who_verifies_is_configured_and_has_no_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "policy.json").write_text(json.dumps(document()))
    words = ["--attest-vsa", "--vsa-key", "vsa.key", "--policy-uri", "https://p.example.com/1"]
    assert chains(["verify", "--policy", str(tmp_path / "policy.json"), *words, REF]) == 2
    assert "--attest-vsa needs --verifier-id: none of them has a default" in capsys.readouterr().err


def test_14_the_answer_says_who_signed_and_what_was_expected() -> None:
    pairs = [trust("tekton", "ours"), trust("other", "second", builder=BUILDER + "/other")]
    found = decided(document(trust=pairs), form_b(tekton(), signer("second")))
    assert found is not None
    text = answers_to_text([found])
    assert text.startswith(f"FAILED  {IMAGE}@")
    assert "signer_not_trusted" in text
    assert "expected: a signer and builder of trust entry tekton, trust entry other" in text
    assert "do:       the builder's own signer has to sign" in text


def test_15_rules_compare_statements_of_one_run() -> None:
    rules = [
        {
            "name": "same-run",
            "cel": "provenance.predicate.runDetails.metadata.invocationId == report.runUid",
            "message": "the report is of another run",
        }
    ]
    written = document(rules=rules)
    assert verdict(written, form_b(tekton()), form_b(report())).verdict is Verdict.VERIFIED
    assert wrong(verdict(written, form_b(tekton()), form_b(report(uid="uid-2")))) == {
        "same-run": "rule_failed"
    }


def test_16_evidence_is_looked_for_once_for_all_policies() -> None:
    shelf = Shelf(form_b(tekton()))
    policies = opened(*(document(name) for name in ("one", "two", "three")))
    found = asyncio.run(answer(policies, read_image(REF), stores=[shelf], now=NOW))
    assert isinstance(found, ImageAnswer)
    assert len(shelf.asked) == 1


def test_17_a_failed_answer_says_its_cause_beside_the_summary() -> None:
    found = verdict(document(require={"level": 3}), form_b(tekton()))
    (cause,) = [check for check in found.to_json()["checks"] if check["result"] == "fail"]
    assert (cause["id"], cause["reason"]) == ("level", "level_too_low")
    assert (cause["expected"], cause["actual"]) == ("SLSA build level 3", "level 2 of trust entry tekton")
    assert cause["guidance"]


def test_18_a_summary_of_another_version_of_the_policy_does_not_count() -> None:
    accept = {"vsa": [accepted(policy={"uri": POLICY, "digest": "sha256:" + "cd" * 32})]}
    assert verdict(door(), held(vsa())).verdict is Verdict.VERIFIED
    assert wrong(verdict(door(accept=accept), held(vsa()))) == {"vsa": "summary_policy_not_accepted"}


def test_18_the_answer_names_the_digest_of_its_policy() -> None:
    one, two = (verdict(document(require={"level": level}), form_b(tekton())) for level in (1, 2))
    assert one.policy_digest.startswith("sha256:")
    assert one.policy_digest != two.policy_digest
