"""One image and one policy: what counts, what is exempt, and which verdict and decision follow."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from chains.errors import UsageError
from chains.policy.document.format import Mode, Operator
from chains.policy.document.policy import LabelCondition, Namespace, NamespacesWanted
from chains.policy.verdict import Decision
from chains.verify.verdict import Verdict
from tests.faults.verify.forge import (
    BUILDER,
    DIGEST,
    IMAGE,
    NOW,
    OTHER,
    Broken,
    Shelf,
    bundle,
    evidence,
    form_a,
    form_b,
    image_signature,
    old_provenance,
    signer,
    with_payload,
)
from tests.unit.chains.policy.made import decided, document, report, tekton, trust, verdict, wrong

Json = Any
HERMETIC = "https://builder.example.com/hermetic"


def test_trusted_provenance_of_a_trusted_builder_is_verified() -> None:
    found = verdict(document(require={"level": 2}), form_b(tekton()))
    assert (found.verdict, found.decision, found.exit_code) == (Verdict.VERIFIED, Decision.ALLOW, 0)
    assert (found.level, found.trust) == (2, "tekton")


def test_both_forms_and_the_old_format_count() -> None:
    assert verdict(document(), form_a(tekton())).verdict is Verdict.VERIFIED
    assert verdict(document(), form_b(old_provenance())).verdict is Verdict.VERIFIED


def test_nothing_found_is_not_found_and_denied() -> None:
    found = verdict(document())
    assert (found.verdict, found.decision, found.exit_code) == (Verdict.NOT_FOUND, Decision.DENY, 3)
    assert wrong(found) == {"evidence": "no_evidence"}


def test_zero_verified_evidence_fails_before_any_rule_is_evaluated() -> None:
    rules = [{"name": "always", "cel": "true", "message": "never"}]
    for held in ([], [form_b(tekton(), signer("stranger"))], [image_signature()]):
        found = verdict(document(rules=rules), *held)
        assert found.verdict is not Verdict.VERIFIED
        assert "always" not in {check.id for check in found.checks}


def test_evidence_of_a_stranger_does_not_count() -> None:
    found = verdict(document(), form_b(tekton(), signer("stranger")))
    assert found.verdict is Verdict.FAILED
    assert wrong(found) == {"evidence": "key_unknown"}


def test_evidence_of_another_image_does_not_count() -> None:
    found = verdict(document(), form_b(tekton(value=OTHER)))
    assert wrong(found) == {"evidence": "subject_mismatch"}


def test_an_image_signature_alone_is_no_provenance() -> None:
    assert verdict(document(), image_signature()).verdict is Verdict.NOT_FOUND


def test_changed_evidence_is_denied_whatever_else_is_there() -> None:
    changed = evidence(with_payload(bundle(tekton()), lambda one: one["predicate"].update(x=1)))
    exempt = {
        "image": f"{IMAGE}@{DIGEST}",
        "rules": ["evidence"],
        "until": "2027-01-01T00:00:00Z",
        "reason": "r",
        "reference": "t",
    }
    found = verdict(document(exemptions=[exempt]), form_b(tekton()), changed)
    assert (found.verdict, found.decision) == (Verdict.FAILED, Decision.DENY)
    assert wrong(found) == {"evidence": "evidence_invalid"}


def test_a_signer_counts_for_its_own_builder_alone() -> None:
    pairs = [trust("tekton", "ours"), trust("hermetic", "second", builder=HERMETIC, level=3)]
    stolen = form_b(tekton(builder=HERMETIC), signer("ours"))
    found = verdict(document(trust=pairs), stolen)
    assert wrong(found) == {"trust": "signer_not_trusted"}
    assert found.level == 0
    own = form_b(tekton(builder=HERMETIC), signer("second"))
    assert verdict(document(trust=pairs), own).level == 3


def test_a_builder_that_no_entry_names_is_not_trusted() -> None:
    found = verdict(document(), form_b(tekton(builder=BUILDER + "x")))
    assert wrong(found) == {"trust": "builder_not_trusted"}


def test_the_best_of_several_statements_counts() -> None:
    pairs = [trust("tekton", "ours", level=1), trust("hermetic", "second", builder=HERMETIC, level=3)]
    held = [form_b(tekton(uid="a")), form_b(tekton(uid="b", builder=HERMETIC), signer("second"))]
    for order in (held, held[::-1]):
        found = verdict(document(trust=pairs, require={"level": 3}), *order)
        assert (found.verdict, found.trust) == (Verdict.VERIFIED, "hermetic")


def test_requirements_are_met_by_one_statement_and_not_by_several_together() -> None:
    pairs = [trust("tekton", "ours", level=3)]
    one = form_b(tekton(uid="a", build_type="https://other.example.com/v1"))
    two = form_b(tekton(uid="b", external={"x": 1}))
    require = {"buildTypes": ["https://tekton.dev/chains/v2/slsa"], "externalParameters": {}}
    found = verdict(document(trust=pairs, require=require), one, two)
    assert found.verdict is Verdict.FAILED
    assert len(wrong(found)) == 1


def test_a_store_that_is_away_leaves_it_undecided() -> None:
    found = verdict(document(), Broken())
    assert (found.verdict, found.decision, found.exit_code) == (Verdict.INDETERMINATE, Decision.DENY, 4)
    assert wrong(found) == {"evidence": "store_unavailable"}


def test_what_is_missing_is_undecided_while_a_store_is_away() -> None:
    require = {"hermetic": "enforced"}
    found = verdict(document(require=require), form_b(tekton()), Broken())
    assert found.verdict is Verdict.INDETERMINATE
    assert wrong(found) == {"hermetic": "store_unavailable"}


def test_what_is_there_and_wrong_fails_while_a_store_is_away() -> None:
    found = verdict(document(require={"level": 3}), form_b(tekton()), Broken())
    assert found.verdict is Verdict.FAILED


def test_good_evidence_counts_while_another_store_is_away() -> None:
    assert verdict(document(), form_b(tekton()), Broken()).verdict is Verdict.VERIFIED


def test_missing_and_unavailable_are_decided_apart() -> None:
    lenient = document(missing="warn")
    assert verdict(lenient).decision is Decision.WARN
    assert verdict(lenient, Broken()).decision is Decision.DENY
    other = document(unavailable="warn")
    assert verdict(other).decision is Decision.DENY
    assert verdict(other, Broken()).decision is Decision.WARN
    assert verdict(other, form_b(tekton(), signer("stranger"))).decision is Decision.DENY


@pytest.mark.parametrize(("mode", "decision"), [("enforce", "deny"), ("warn", "warn"), ("audit", "allow")])
def test_the_mode_changes_the_decision_and_never_the_verdict(mode: str, decision: str) -> None:
    found = verdict(document(mode=mode), form_b(tekton(), signer("stranger")))
    assert (found.mode, found.verdict, found.decision) == (Mode(mode), Verdict.FAILED, Decision(decision))
    assert found.exit_code == 1


def test_the_strictest_of_several_policies_counts_in_any_order() -> None:
    lenient = document("lenient", mode="warn", require={"level": 3})
    strict = document("strict", require={"level": 3})
    passing = document("passing")
    for order in ([lenient, strict, passing], [passing, strict, lenient]):
        found = decided(order, form_b(tekton()))
        assert found is not None
        assert [one.policy for one in found.verdicts] == ["strict", "lenient", "passing"]


def test_no_matching_policy_is_no_answer() -> None:
    assert decided(document(images=["registry.example.com/other"]), form_b(tekton())) is None


def test_a_tag_is_never_judged() -> None:
    with pytest.raises(UsageError, match="no digest"):
        decided(document(), image=f"{IMAGE}:1")


def test_every_namespace_has_the_label_that_the_api_server_gives_it() -> None:
    wanted = NamespacesWanted(labels={"kubernetes.io/metadata.name": "shop"})
    assert wanted.fits(Namespace("shop", {"env": "prod"}))
    assert not wanted.fits(Namespace("other", {"env": "prod"}))
    condition = LabelCondition("kubernetes.io/metadata.name", Operator.NOT_IN, ("shop",))
    assert not NamespacesWanted(conditions=(condition,)).fits(Namespace("shop", {}))
    assert NamespacesWanted(conditions=(condition,)).fits(Namespace("other", {}))


def test_a_policy_is_for_its_namespaces_alone() -> None:
    written = document()
    written["spec"]["match"]["namespaces"] = {
        "matchLabels": {"env": "prod"},
        "matchExpressions": [
            {"key": "tier", "operator": "In", "values": ["front"]},
            {"key": "legacy", "operator": "DoesNotExist"},
            {"key": "team", "operator": "NotIn", "values": ["lab"]},
        ],
    }
    good = {"env": "prod", "tier": "front"}
    assert decided(written, namespace=Namespace("shop", good))
    for change in ({"env": "dev"}, {"tier": "back"}, {"legacy": ""}, {"team": "lab"}):
        assert decided(written, namespace=Namespace("shop", good | change)) is None
    assert decided(written, namespace=None), "without a namespace the stricter reading counts"


EXEMPTION = {
    "image": IMAGE,
    "rules": ["level"],
    "until": "2026-12-31T00:00:00Z",
    "reason": "old builder",
    "reference": "SEC-1",
}


def test_an_exemption_takes_one_requirement_away_and_is_told() -> None:
    written = document(require={"level": 3, "hermetic": "enforced"}, exemptions=[EXEMPTION])
    found = verdict(written, form_b(tekton()), form_b(report(level="partly")))
    assert wrong(found) == {"hermetic": "hermetic_not_proven"}
    (exempted,) = [check for check in found.checks if check.exempted]
    assert exempted.id == "level"
    passing = verdict(written, form_b(tekton()), form_b(report()))
    assert passing.verdict is Verdict.VERIFIED
    assert "exempt: level" in passing.summary


def test_an_exemption_of_another_image_or_rule_changes_nothing() -> None:
    for change in ({"image": "registry.example.com/team/other"}, {"rules": ["hermetic"]}):
        written = document(require={"level": 3}, exemptions=[EXEMPTION | change])
        assert wrong(verdict(written, form_b(tekton()))) == {"level": "level_too_low"}


def test_an_expired_exemption_counts_for_nothing_and_is_named() -> None:
    written = document(require={"level": 3}, exemptions=[EXEMPTION])
    before = NOW.replace(year=2026, month=12, day=30)
    assert verdict(written, form_b(tekton()), now=before).verdict is Verdict.VERIFIED
    after = before + timedelta(days=1)
    found = verdict(written, form_b(tekton()), now=after)
    assert wrong(found) == {"level": "level_too_low"}
    (check,) = [check for check in found.checks if check.expired]
    assert check.expired[0].reference == "SEC-1"
    assert "SEC-1" in str(found.to_json())


def test_an_image_that_is_exempt_from_evidence_is_allowed_and_never_verified() -> None:
    exempt = EXEMPTION | {"rules": ["evidence"], "image": f"{IMAGE}@{DIGEST}"}
    found = verdict(document(exemptions=[exempt]))
    assert (found.verdict, found.decision, found.exit_code) == (Verdict.NOT_FOUND, Decision.ALLOW, 0)
    assert found.summary == "no evidence was verified; the image is exempt from it"


def test_two_exemptions_of_one_rule_for_two_images_stand_side_by_side() -> None:
    second = EXEMPTION | {"image": "registry.example.com/team/other", "reference": "SEC-2"}
    for order in ([EXEMPTION, second], [second, EXEMPTION]):
        written = document(images=["registry.example.com/team/*"], require={"level": 3}, exemptions=order)
        for image in ("app", "other"):
            found = verdict(written, form_b(tekton()), image=f"registry.example.com/team/{image}@{DIGEST}")
            assert found.verdict is Verdict.VERIFIED


def test_a_key_counts_in_its_times_alone() -> None:
    past = trust(until="2026-01-01T00:00:00Z")
    found = verdict(document(trust=[past]), form_b(tekton()))
    assert wrong(found) == {"evidence": "key_outside_window"}
    current = trust(**{"from": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"})
    assert verdict(document(trust=[current]), form_b(tekton())).verdict is Verdict.VERIFIED


def test_one_key_may_have_other_times_in_another_entry() -> None:
    past = trust("old", until="2026-01-01T00:00:00Z")
    hermetic = trust("new", builder=HERMETIC, level=3)
    both = document(trust=[past, hermetic])
    assert verdict(both, form_b(tekton(builder=HERMETIC))).verdict is Verdict.VERIFIED
    assert wrong(verdict(both, form_b(tekton()))) == {"trust": "signer_not_trusted"}


def test_signers_are_named_for_each_predicate_type() -> None:
    scanned = "https://cosign.sigstore.dev/attestation/vuln/v1"
    scan = tekton() | {"predicateType": scanned, "predicate": {"scanner": "x"}}
    signers = [{"predicateType": scanned, "keys": trust("x", "scanner")["signer"]["keys"]}]
    written = document(require={"predicates": [scanned]}, signers=signers)
    by_ours = verdict(written, form_b(tekton()), form_b(scan))
    assert wrong(by_ours) == {"predicates": "predicate_missing"}
    assert verdict(written, form_b(tekton()), form_b(scan, signer("scanner"))).verdict is Verdict.VERIFIED
    # the scanner's key makes no provenance count
    swapped = verdict(written, form_b(tekton(), signer("scanner")), form_b(scan, signer("scanner")))
    assert wrong(swapped) == {"trust": "signer_not_trusted"}


def test_a_predicate_without_signers_of_its_own_is_for_those_of_trust() -> None:
    scanned = "https://example.com/scan/v1"
    scan = tekton() | {"predicateType": scanned, "predicate": {}}
    written = document(require={"predicates": [scanned]})
    assert verdict(written, form_b(tekton()), form_b(scan)).verdict is Verdict.VERIFIED
    assert wrong(verdict(written, form_b(tekton()))) == {"predicates": "predicate_missing"}


def test_every_store_has_to_hold_the_provenance() -> None:
    written = document(require={"everyStore": True})
    one, two = form_b(tekton()), form_a(tekton())
    both = verdict(written, Shelf(one, url="a:"), Shelf(one, url="b:"))
    assert both.verdict is Verdict.VERIFIED
    other_form = verdict(written, Shelf(one, url="a:"), Shelf(two, url="b:"))
    assert other_form.verdict is Verdict.VERIFIED
    lacking = verdict(written, Shelf(one, url="a:"), Shelf(form_b(report()), url="b:"))
    assert wrong(lacking) == {"everyStore": "store_without_evidence"}
    away = verdict(written, Shelf(one, url="a:"), Broken(url="b:"))
    assert away.verdict is Verdict.INDETERMINATE


def test_the_answer_names_policy_digest_and_time() -> None:
    written = verdict(document(), form_b(tekton())).to_json()
    assert written["policy"]["name"] == "production"
    assert written["policy"]["digest"].startswith("sha256:")
    assert written["verifiedAt"] == "2026-10-05T09:00:00Z"
