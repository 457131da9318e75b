"""What the execution report says about a run's trigger, and whose word it is."""

from __future__ import annotations

from typing import Any

import pytest

from chains.attest.payloads import EXECUTION_REPORT, build_payloads
from chains.config.parse import parse_config
from chains.inspection.report import read_report
from chains.statements.attributes import Attribute
from chains.statements.statement import parse_statement
from chains.tekton.snapshot import take_snapshot
from tests.faults.hermetic import objects

DIGEST = "5d" * 32
LABELS = {
    "triggers.tekton.dev/eventlistener": "github",
    "triggers.tekton.dev/trigger": "push",
    "triggers.tekton.dev/triggers-eventid": "8d9e-1",
}
ANNOTATIONS = {
    "provenance.chains/interceptors": "github,event-digest",
    "provenance.chains/event-type": "push",
    "provenance.chains/event-source": "https://github.com/acme/app",
    "provenance.chains/event-delivery": "72d3162e",
    "provenance.chains/event-sha256": DIGEST,
    "provenance.chains/created-by": "system:serviceaccount:ci:listener",
}
GUARD = {"execution.trigger.guarded": "true"}


def run(labels: Any = None, annotations: Any = None, owners: Any = None) -> dict[str, Any]:
    made: dict[str, Any] = objects("nothing-wrong")["TaskRun"]
    made["metadata"]["labels"] |= labels or {}
    made["metadata"]["annotations"] |= annotations or {}
    if owners:
        made["metadata"]["ownerReferences"] = owners
    return made


def statement(made: dict[str, Any], config: dict[str, str] | None = None) -> Any:
    (report,) = (
        payload
        for payload in build_payloads(take_snapshot(made), parse_config(config or {}))
        if payload.kind == EXECUTION_REPORT
    )
    return parse_statement(report.statement)


def trigger(made: dict[str, Any], config: dict[str, str] | None = None) -> Any:
    found = [
        one["conditions"]
        for one in statement(made, config).predicate["attributes"]
        if one["attribute"] == Attribute.RUN_TRIGGER
    ]
    assert len(found) <= 1
    return found[0] if found else None


def test_every_fact_names_the_label_or_annotation_that_it_is_from() -> None:
    told = trigger(run(LABELS, ANNOTATIONS))
    assert told.pop("trust") == "claimed"
    assert "whoever may create runs" in told.pop("reason")
    assert told == {
        "eventListener": {"value": "github", "from": "label triggers.tekton.dev/eventlistener"},
        "trigger": {"value": "push", "from": "label triggers.tekton.dev/trigger"},
        "eventId": {"value": "8d9e-1", "from": "label triggers.tekton.dev/triggers-eventid"},
        "interceptors": {
            "value": "github,event-digest",
            "from": "annotation provenance.chains/interceptors",
        },
        "eventType": {"value": "push", "from": "annotation provenance.chains/event-type"},
        "eventSource": {
            "value": "https://github.com/acme/app",
            "from": "annotation provenance.chains/event-source",
        },
        "eventDelivery": {"value": "72d3162e", "from": "annotation provenance.chains/event-delivery"},
        "eventDigest": {"sha256": DIGEST, "from": "annotation provenance.chains/event-sha256"},
        "creator": {
            "value": "system:serviceaccount:ci:listener",
            "from": "annotation provenance.chains/created-by",
        },
    }


def test_a_run_that_nothing_says_anything_about_has_no_such_attribute() -> None:
    assert trigger(run()) is None
    assert trigger(run({"triggers.tekton.dev/eventlistener": ""}), GUARD) is None


def test_labels_are_guarded_only_if_the_operator_says_so_and_the_run_has_no_owner() -> None:
    owner = [
        {"apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": "p", "uid": "u", "controller": True}
    ]
    assert trigger(run(LABELS), GUARD)["trust"] == "guarded"
    assert "execution.trigger.guarded" in trigger(run(LABELS), GUARD)["reason"]
    assert trigger(run(LABELS, owners=owner))["trust"] == "claimed"
    # Tekton's controller copies labels that a Pipeline's author chose, and admission sees only the controller
    child = trigger(run(LABELS, owners=owner), GUARD)
    assert child["trust"] == "claimed"
    assert "copies" in child["reason"]


@pytest.mark.parametrize("value", ["5D" * 32, "5d" * 31, f"sha256:{DIGEST}", f"{DIGEST}\n", "none"])
def test_what_is_no_digest_is_said_to_be_rejected_and_not_repeated(value: str) -> None:
    told = trigger(run(annotations={"provenance.chains/event-sha256": value}))["eventDigest"]
    assert told == {
        "rejected": "not a SHA-256 in lower-case hex",
        "from": "annotation provenance.chains/event-sha256",
    }


def test_secrets_are_masked_and_long_values_are_cut() -> None:
    told = trigger(
        run(
            annotations={
                "provenance.chains/event-source": "https://bot:hunter2-hunter2@git.example.com/app",
                "provenance.chains/event-type": "x" * 100_000,
            }
        )
    )
    assert "hunter2" not in str(told)
    assert len(told["eventType"]["value"]) < 1000


def test_inspect_says_first_whose_word_it_is() -> None:
    facts = read_report(statement(run(LABELS, ANNOTATIONS)))
    (told,) = (one.value for one in facts.circumstances if one.name == "trigger")
    assert told.startswith("claimed: eventListener github, trigger push, eventId 8d9e-1")
    assert f"eventDigest sha256:{DIGEST}" in told


def test_the_provenance_is_the_same_with_and_without_the_guard() -> None:
    made = run(LABELS, ANNOTATIONS)
    first, second = (
        build_payloads(take_snapshot(made), parse_config(config))[0].statement for config in ({}, GUARD)
    )
    assert first == second
