"""A control's state falls by data: nothing that a report does not show is claimed, whatever a map demands."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest

from chains.report.controls.evaluate import EVIDENCED_FLOOR, PARTLY_FLOOR, Judged, State, judge
from chains.report.controls.fact import Kind, shown
from chains.report.controls.facts import FACTS, measure_all
from chains.report.controls.format import Highest
from chains.report.controls.load import Control, own_maps, parse_maps
from chains.report.controls.requirement import Requirement
from chains.report.controls.tally import tally
from chains.report.document.file import Document
from tests.unit.chains.report.controls import made

MAPS = {one.name: one for one in own_maps()}


def judged(document: Document) -> dict[tuple[str, str], Judged]:
    values = measure_all(tally(document))
    return {(name, one.control.id): one for name, each in MAPS.items() for one in judge(each, values)}


def states(document: Document) -> dict[tuple[str, str], State]:
    return {place: one.state for place, one in judged(document).items()}


def evidenced(document: Document) -> set[tuple[str, str]]:
    return {place for place, state in states(document).items() if state is State.EVIDENCED}


WHOLE = states(made.document())
"""The states where everything holds."""


def test_every_control_reaches_its_highest_state_where_everything_holds() -> None:
    for name, one in MAPS.items():
        for control in one.controls:
            assert WHOLE[name, control.id].value == control.highest.value, (name, control.id)


def test_no_control_is_ever_higher_than_its_map_says() -> None:
    order = [State.NOT_HERE, State.NOT_EVIDENCED, State.PARTLY, State.EVIDENCED]
    for one in judged(made.document()).values():
        assert order.index(one.state) <= order.index(State(one.control.highest.value))


LIES: dict[str, Document] = {
    "coverage is 99.9 %": made.mixed(999, missing=1),
    "a run is unknown": made.mixed(999, unknown=1),
    "evidence of a run does not verify": made.mixed(999, failed=1),
    "a run cannot be attested": made.mixed(999, unattestable=1),
    "the configuration leaves a run out": made.mixed(999, skipped=1),
    "evidence of a run was deleted": made.mixed(999, disposed=1),
    "the period is empty": made.mixed(0),
    "no run has evidence": made.mixed(0, missing=5),
    "every run is unknown": made.mixed(0, unknown=5),
    "there is no source of runs": made.document(population=made.population(sources=[])),
    "a source was not read whole": made.document(
        population=made.population(sources=[made.source(problems=["line 4 cannot be read"])])
    ),
    "there is a gap": made.document(
        population=made.population(
            gaps=[{"source": "audit log", "since": None, "until": None, "reason": "it begins later"}]
        )
    ),
    "the audit was not decided": made.document(population=made.population(undecided=["1 question had no answer"])),
    "a store did not answer": made.document(population=made.population(problems=["s3://evidence: no answer"])),
    "a source should know a run and does not": made.document(
        population=made.population(
            evidenceWithoutRun=[
                {
                    "run": "taskrun/shop/x", "uid": "x", "finished": None, "store": "s3://evidence",
                    "verdict": "verified", "shouldBeKnown": True,
                }
            ]
        )
    ),
    "the key is revoked": made.document(keys=[made.key(status="revoked")]),
    "the key is not trusted": made.document(keys=[made.key(trusted=False)]),
    "the key is not listed": made.document(keys=[]),
    "another revoked key signed evidence": made.document(
        keys=[made.key(), made.key("SHA256:" + "0c" * 32, status="revoked")]
    ),
    "no evidence is verified": made.document(
        attestations=[made.attestation(number, result="not-used", signer=None) for number in (10, 20, 30)]
    ),
    "there is no evidence in the list": made.document(attestations=[]),
    "the list has fewer runs than the counts say": made.document(run_rows=[made.run(1)]),
    "the list has a run without evidence that the counts do not say": made.document(
        run_rows=[made.run(1), made.run(2), made.run(3, "missing")]
    ),
    "the coverage is greater than the counts": made.document(
        counts=made.counts(evidenced=2, missing=1),
        coverage={"least": 3, "most": 3, "finished": 3, "text": "100 %"},
        run_rows=[made.run(1), made.run(2), made.run(3, "missing")],
    ),
    "the report says no coverage": made.document(coverage=None),
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
def test_nothing_is_evidenced_if(lie: str) -> None:
    assert evidenced(LIES[lie]) == set()


NOTHING = (
    "the period is empty",
    "no run has evidence",
    "every run is unknown",
    "the key is revoked",
    "the key is not trusted",
    "the key is not listed",
    "no evidence is verified",
    "there is no evidence in the list",
)


@pytest.mark.parametrize("lie", NOTHING)
def test_nothing_is_even_partly_evidenced_if(lie: str) -> None:
    assert set(states(LIES[lie]).values()) == {State.NOT_EVIDENCED, State.NOT_HERE}


def fallen(document: Document) -> dict[str, set[str]]:
    """The controls that are not as high as where everything holds, by map."""
    found: dict[str, set[str]] = {}
    for (name, control), state in states(document).items():
        if state is not WHOLE[name, control]:
            found.setdefault(name, set()).add(control)
    return found


@pytest.mark.parametrize("custody", [None, ""])
def test_a_key_that_a_file_gave_proves_no_authenticity(custody: str | None) -> None:
    document = made.document(keys=[made.key(custody=custody)])
    found = fallen(document)
    assert found["slsa-build-1.2"] == {"Provenance is Authentic", "Provenance is Unforgeable"}
    assert {"SI-7(6)", "AU-9(3)", "AU-10"} <= found["sp800-53-r5"]
    assert found["cis-ssc-1.0"] == {"4.1.1"}
    assert states(document)["slsa-build-1.2", "Provenance is Authentic"] is State.PARTLY
    assert states(document)["slsa-build-1.2", "Provenance is Unforgeable"] is State.NOT_EVIDENCED


def test_one_key_of_two_that_a_file_gave_is_enough_to_fall() -> None:
    other = "SHA256:" + "d4" * 32
    keys = [made.key(), made.key(other, custody=None)]
    signed = [made.attestation(10), made.attestation(20), made.attestation(30, signer=other)]
    document = made.document(keys=keys, attestations=signed)
    assert measure_all(tally(document))["keys-outside-files"] is None
    assert "Provenance is Authentic" in fallen(document)["slsa-build-1.2"]


def test_a_key_of_a_file_that_signed_nothing_changes_nothing() -> None:
    assert fallen(made.document(keys=[made.key(), made.key("SHA256:" + "d4" * 32, custody=None)])) == {}


def test_the_key_of_a_certificate_is_in_no_file() -> None:
    signer = "https://example.com/build issued by https://issuer.example.com"
    keys = [made.key(signer, kind="certificate", custody=None)]
    signed = [made.attestation(number, signer=signer) for number in (10, 20, 30)]
    assert measure_all(tally(made.document(keys=keys, attestations=signed)))["keys-outside-files"] is True


BROKEN: dict[str, dict[str, Any]] = {
    "there is none": {"ledgers": [], "sources": [made.source(kind="audit-log")]},
    "it has no closed day": {"ledgers": []},
    "a day is not verified": {"ledgers": [made.ledger(notVerified=1)]},
    "no key signed it": {"ledgers": [made.ledger(signer=None)]},
    "something is wrong with it": {"sources": [made.source(problems=["2026-10-03: entries: removed"])]},
    "it begins after the period began": {"sources": [made.source(since="2026-10-01T00:00:01Z")]},
    "its signed days end before the period ended": {"sources": [made.source(until="2026-10-31T00:00:00Z")]},
    "no day is signed": {"sources": [made.source(until=None)]},
    "one of two logs is not verified": {"ledgers": [made.ledger(), made.ledger(log="1-of-2", notVerified=1)]},
    "one of two ledgers ends earlier": {
        "sources": [made.source(), made.source(name="ledger of b", until="2026-10-15T00:00:00Z")]
    },
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_ledger_shows_nothing_if(how: str) -> None:
    document = made.document(population=made.population(**BROKEN[how]))
    assert measure_all(tally(document))["ledger-unbroken"] is False
    found = states(document)
    for place in (
        ("slsa-build-1.2", "Provenance Exists"),
        ("ssdf-1.1", "PO.3.3"),
        ("sp800-53-r5", "SI-7"),
        ("cra-2024-2847", "Annex VII (2)(c)"),
        ("pci-dss-4.0.1", "10.3"),
        ("iso-27001-2022", "A.8.15"),
        ("fedramp-ksi-2026", "KSI-SVC-VRI"),
        ("cis-ssc-1.0", "2.4.1"),
    ):
        assert found[place] is not State.EVIDENCED, place
    assert found["sp800-53-r5", "AU-9"] is State.NOT_EVIDENCED
    assert found["soc-2-tsc", "CC8.1"] is State.NOT_EVIDENCED


def test_a_gap_of_the_ledger_breaks_it() -> None:
    gap = {"source": made.source()["name"], "since": "2026-10-05T00:00:00Z", "until": None, "reason": "down"}
    assert (
        measure_all(tally(made.document(population=made.population(gaps=[gap]))))["ledger-unbroken"] is False
    )


def test_a_day_that_is_not_over_need_not_be_signed() -> None:
    now = made.scope(at="2026-10-20T10:00:00Z", until=None)
    for until, covered in (("2026-10-20T00:00:00Z", True), ("2026-10-19T00:00:00Z", False)):
        signed = made.population(sources=[made.source(until=until)], ledgers=[made.ledger(notClosed=1)])
        values = measure_all(tally(made.document(scope=now, population=signed)))
        assert values["ledger-unbroken"] is covered


def test_logs_that_have_ended_do_not_break_a_ledger() -> None:
    ended = made.ledger(log="share-0-of-2", day="2026-10-09")
    later = made.ledger(log="share-0-of-1", firstDay="2026-10-09")
    values = measure_all(tally(made.document(population=made.population(ledgers=[ended, later]))))
    assert values["ledger-unbroken"] is True


def test_nothing_is_evidenced_for_a_period_that_is_not_over() -> None:
    document = made.document(scope=made.scope(at="2026-10-31T10:00:00Z"))
    assert measure_all(tally(document))["period-over"] is False
    assert evidenced(document) == set()
    assert "period-over does not hold: no" in judged(document)["sp800-53-r5", "SI-7(1)"].reason


@pytest.mark.parametrize(
    "value", ["matching https://ci/.* (issuer https://idp)", "https://ci/a (issuer matching https://.*)"]
)
def test_an_identity_that_is_revoked_by_an_expression_leaves_open_which_signer_it_is(value: str) -> None:
    def facts(kind: str, **listed: Any) -> tuple[Any, Any]:
        entry = {
            "kind": "identity",
            "value": value,
            "since": None,
            "reason": "r",
            "list": "sha256:1",
        } | listed
        document = made.document(revocations=[entry], keys=[made.key(kind=kind)])
        found = measure_all(tally(document))
        return found["revoked-keys-used"], found["signers-trusted"]

    assert facts("certificate") == (None, None)
    assert facts("certificate", value="https://other (issuer https://idp)") == (0, True)
    assert facts("key") == (0, True)  # an expression is about certificates


def test_two_forms_in_one_registry_are_in_one_store() -> None:
    def share(*places: str) -> Any:
        rows = [made.attestation(10, places=list(places))]
        return measure_all(tally(made.document(attestations=rows)))["attestations-in-two-stores"]

    assert share("oci r.example.com/a@sha256:1", "oci r.example.com/b:sha256-1.att") == 0
    assert share("file /var/a/x", "file /var/b/x") == 0
    assert share("s3://evidence/a", "s3://evidence/b") == 0
    assert share("s3://evidence/a", "s3://copies/a") == 100
    assert share("oci r.example.com/a@sha256:1", "oci copy.example.com/a@sha256:1") == 100
    assert share("oci-layout .chains/layout@sha256:1", "file /var/a/x") == 0
    assert share("oci-layout .chains/layout@sha256:1", "s3://evidence/a") == 100


def test_sources_that_contradict_each_other_are_no_whole_population() -> None:
    difference = {
        "run": "taskrun/shop/a", "uid": "u", "what": "outcome", "first": "a", "said": "succeeded", "second": "b",
        "contradicted": "failed",
    }  # fmt: skip
    document = made.document(population=made.population(differences=[difference]))
    assert measure_all(tally(document))["population-whole"] is False
    assert evidenced(document) == set()


def test_an_image_in_use_without_a_run_leaves_no_control_evidenced() -> None:
    image = {
        "image": "r.example.com/a@sha256:1",
        "reason": "no_evidence",
        "words": "none",
        "where": ["Pod/a/b"],
    }
    document = made.document(population=made.population(imagesWithoutRun=[image]), exitCode=1)
    assert measure_all(tally(document))["population-whole"] is False
    assert evidenced(document) == set()
    assert evidenced(made.document())


def test_the_key_of_the_ledger_must_not_sign_evidence() -> None:
    shared = made.population(ledgers=[made.ledger(signer=made.SIGNER)])
    found = fallen(made.document(population=shared))
    assert "AU-9" in found["sp800-53-r5"]
    assert "10.3" in found["pci-dss-4.0.1"]


def test_artifacts_without_provenance_lower_the_claims_about_provenance() -> None:
    shop = [made.artifact(number) for number in range(1, 10)] + [
        made.artifact(10, attested=False, source=None)
    ]
    document = made.document(artifacts=shop)
    assert measure_all(tally(document))["artifacts-attested"] == Fraction(90)
    assert states(document)["slsa-build-1.2", "Provenance Exists"] is State.PARTLY
    few = made.document(artifacts=[made.artifact(1), made.artifact(2, attested=False)])
    assert states(few)["slsa-build-1.2", "Provenance Exists"] is State.NOT_EVIDENCED


def test_a_period_without_artifacts_says_nothing_about_artifacts() -> None:
    document = made.document(artifacts=[])
    assert measure_all(tally(document))["artifacts-attested"] is None
    found = states(document)
    assert found["slsa-build-1.2", "Provenance Exists"] is State.NOT_EVIDENCED
    assert found["sp800-53-r5", "AU-3"] is State.EVIDENCED


def test_what_an_artifact_claims_without_provenance_counts_for_nothing() -> None:
    claimed = made.artifact(1, attested=False)
    assert claimed["source"]
    assert measure_all(tally(made.document(artifacts=[claimed])))["artifacts-with-source"] == 0


def test_a_report_without_ledger_and_policies_says_nothing_about_configuration_and_exemptions() -> None:
    nothing = dict.fromkeys(("keyChanges", "exemptions", "dispositions", "configuration"))
    values = measure_all(tally(made.document(**nothing)))
    for name in (
        "key-changes-recorded", "configuration-recorded", "exemptions-without-approver",
        "exemptions-without-end", "dispositions-without-reason",
    ):  # fmt: skip
        assert values[name] is None
    found = fallen(made.document(**nothing))
    assert {"SR-3", "CM-3", "SC-12", "AU-9", "AU-11"} <= found["sp800-53-r5"]


def test_an_entry_that_is_in_no_signed_day_records_nothing() -> None:
    change = {"at": "2026-10-31T00:00:00Z", "digest": "sha256:" + "f" * 64, "changed": [], "signed": False}
    values = measure_all(tally(made.document(configuration=[change])))
    assert values["configuration-recorded"] is False


def test_images_were_not_compared_if_none_was_asked_about() -> None:
    values = measure_all(tally(made.document(population=made.population(imagesAsked=0))))
    assert values["images-without-run"] is None


def test_facts_that_are_not_there_are_not_evidenced() -> None:
    for one in MAPS.values():
        assert {each.state for each in judge(one, {})} <= {State.NOT_EVIDENCED, State.NOT_HERE}


def test_each_fact_that_is_not_there_lowers_the_controls_that_demand_it() -> None:
    values = measure_all(tally(made.document()))
    used = {demand.fact for one in MAPS.values() for each in judge(one, values) for demand in each.serving}
    for name in used:
        without = {fact: value for fact, value in values.items() if fact != name}
        for one in MAPS.values():
            for before, after in zip(judge(one, values), judge(one, without), strict=True):
                demands = any(demand.fact == name for demand in before.serving)
                assert (before.state is not after.state) == (
                    demands and before.state is not State.NOT_HERE and _counts(before, name)
                ), (name, before.control.id)


def _counts(judged_before: Judged, name: str) -> bool:
    """Whether a demand matters for the state that the control had."""
    below = {demand.fact for demand in (*PARTLY_FLOOR, *judged_before.control.partly)}
    return judged_before.state is State.EVIDENCED or name in below


def control(**given: Any) -> Control:
    return Control("x", "x", Highest.EVIDENCED, **given)


def test_a_map_cannot_lower_what_is_demanded_of_every_control() -> None:
    easy = (Requirement("finished-runs", ">=", 1),)
    one = next(iter(MAPS.values()))
    lax = type(one)("lax", "lax", "1", "x", one.ids, (control(partly=easy, evidenced=easy),))
    for lie, document in LIES.items():
        (found,) = judge(lax, measure_all(tally(document)))
        assert found.state is not State.EVIDENCED, lie
        if lie in NOTHING:
            assert found.state is State.NOT_EVIDENCED, lie


def test_the_reason_names_each_fact_that_does_not_hold_with_its_value() -> None:
    found = judged(made.mixed(999, missing=1))["sp800-53-r5", "SI-7(1)"]
    assert found.state is State.PARTLY
    assert found.reason == "coverage = 100 does not hold: 99.9 %"
    missing = judged(made.document(artifacts=[]))["sp800-53-r5", "SI-7(1)"]
    assert "artifacts-attested >= 90 does not hold: not in the report" in missing.reason


def test_the_reason_of_a_control_at_its_highest_state_says_so() -> None:
    found = judged(made.document())
    assert found["sp800-53-r5", "SI-7"].reason == "everything that is demanded holds"
    assert "a report never shows more" in found["sp800-53-r5", "SR-3"].reason
    assert found["sp800-53-r5", "SR-9"].reason == "no report can show it"
    lower = judged(made.mixed(999, missing=1))["sp800-53-r5", "SR-4(3)"]
    assert (lower.state, lower.failed) == (State.PARTLY, ())
    assert "a report never shows more" in lower.reason


def test_a_percentage_is_rounded_down() -> None:
    assert shown(Fraction(99_999, 1000), Kind.PERCENT) == "99.9 %"
    assert shown(Fraction(100), Kind.PERCENT) == "100 %"
    assert shown(None, Kind.PERCENT) == "not in the report"
    assert shown(1234, Kind.COUNT) == "1,234"
    assert [shown(flag, Kind.FLAG) for flag in (True, False)] == ["yes", "no"]


def test_the_floors_are_what_the_page_says() -> None:
    assert [str(one) for one in PARTLY_FLOOR] == [
        "evidenced-runs >= 1",
        "attestations >= 1",
        "signers-trusted",
    ]
    assert [str(one) for one in EVIDENCED_FLOOR] == [
        "coverage = 100", "unknown-runs = 0", "failed-runs = 0", "skipped-runs = 0", "disposed-runs = 0", "period-over",
        "population-whole", "revoked-keys-used = 0",
    ]  # fmt: skip


def test_every_fact_has_a_value_of_its_kind_where_everything_holds() -> None:
    values = measure_all(tally(made.document()))
    for name, fact in FACTS.items():
        if fact.kind is Kind.FLAG:
            assert values[name] is True, name
        else:
            assert isinstance(values[name], (int, Fraction)), name
            assert not isinstance(values[name], bool), name
        assert fact.text.endswith("."), name


def test_a_map_in_which_everything_is_demanded_can_be_written() -> None:
    demands = [f"{name} >= 1" if fact.kind is not Kind.FLAG else name for name, fact in FACTS.items()]
    written = f"""
apiVersion: provenance.chains/v1
kind: ControlMap
metadata: {{name: all}}
spec:
  framework: all
  version: "1"
  source: https://example.com
  controls:
    - {{id: x, title: everything, highest: partly, missing: nothing, partly: [{", ".join(demands)}]}}
"""
    maps, problems = parse_maps(written.encode(), "all.yaml")
    assert problems == ()
    assert len(maps[0].controls[0].partly) == len(FACTS)
