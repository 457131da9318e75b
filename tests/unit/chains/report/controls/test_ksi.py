"""The record of FedRAMP's Key Security Indicators: five artifacts each, and nothing said for the provider."""

from __future__ import annotations

from typing import Any

import orjson

from chains.report.controls.ksi import ARTIFACTS, ksi_files, ksi_record
from chains.report.controls.load import own_maps
from chains.report.controls.rows import add_controls
from chains.report.document.digest import document_digest
from chains.report.document.file import Document
from tests.unit.chains.report.controls import made


def record(document: Document | None = None) -> dict[str, Any]:
    document = document or made.document()
    add_controls(document, own_maps())
    return ksi_record(document)


def indicator(name: str, document: Document | None = None) -> dict[str, Any]:
    (found,) = [one for one in record(document)["indicators"] if one["id"] == name]
    return found  # type: ignore[no-any-return]


def test_the_record_has_each_indicator_with_five_artifacts_in_the_words_of_the_rules() -> None:
    found = record()
    assert found["rules"]["version"] == "2026.07.14.01"
    assert [one["id"] for one in found["indicators"]] == [
        "KSI-SVC-VRI", "KSI-CMT-LMC", "KSI-CMT-RMV", "KSI-CMT-VTD", "KSI-SCR-MIT", "KSI-SVC-ASM", "KSI-MLA-OSM",
        "KSI-MLA-RVL", "KSI-PIY-GIV", "KSI-SCR-MON",
    ]  # fmt: skip
    for one in found["indicators"]:
        assert [each["artifact"] for each in one["artifacts"]] == list(ARTIFACTS)


def test_measures_are_facts_with_their_meaning_and_validation_is_their_value() -> None:
    measures, cycle, demonstrates, accurate, works = indicator("KSI-SVC-VRI")["artifacts"]
    assert "its signed days cover the period without a gap" in "".join(measures["text"])
    assert "Log share-0-of-1: 245 closed days from 2026-03-01 to 2026-10-31." in cycle["text"]
    assert demonstrates["text"][0] == "A report can show at most: evidenced. It shows: evidenced."
    assert "Computed again by: chains ledger verify LEDGER --key LEDGER.pub" in accurate["text"]
    assert "ledger-unbroken: yes; demanded: ledger-unbroken; holds." in works["text"]


def test_what_fell_says_so() -> None:
    found = indicator("KSI-SVC-VRI", made.mixed(999, missing=1))
    assert found["state"] == "partly"
    assert "coverage = 100 does not hold: 99.9 %" in found["artifacts"][2]["text"][1]
    assert (
        "coverage: 99.9 %; demanded: coverage >= 90, and coverage = 100; does not hold."
        in found["artifacts"][4]["text"]
    )


def test_no_ledger_has_no_cycle() -> None:
    found = indicator("KSI-SVC-VRI", made.document(population=made.population(ledgers=[])))
    assert not any("ledger" in one for one in found["artifacts"][1]["text"])


def test_what_no_report_can_show_is_left_to_the_provider() -> None:
    found = indicator("KSI-SCR-MON")
    assert found["state"] == "not-here"
    assert [one["text"] for one in found["artifacts"]] == [["No report can show a measure."], [], [], [], []]
    assert [bool(one["openForProvider"]) for one in found["artifacts"]] == [True, True, True, False, True]


def test_what_only_people_decide_is_open_in_every_indicator() -> None:
    for one in record()["indicators"]:
        assert one["artifacts"][2]["openForProvider"], one["id"]


def test_the_record_names_the_report_by_its_digest_and_is_the_same_each_time() -> None:
    document = made.document()
    add_controls(document, own_maps())
    (file,) = ksi_files(document)
    written = b"".join(file.parts)
    assert file.name == "fedramp-ksi.json"
    assert orjson.loads(written)["report"]["digest"] == f"sha256:{document_digest(document)}"
    assert b"".join(next(iter(ksi_files(document))).parts) == written
