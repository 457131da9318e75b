"""Control maps as files: every problem at once with its line, and the maps that come with the program."""

from __future__ import annotations

import json
import os
import re
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from chains.errors import InputError
from chains.policy.document.shapes import Fields, ListOf, Shape
from chains.report.controls.facts import FACTS
from chains.report.controls.format import DOCUMENT, Highest, Ids, json_schema
from chains.report.controls.load import ControlMapError, load_maps, own_maps, parse_maps, read_maps
from chains.report.controls.requirement import Requirement

ROOT = Path(__file__).parents[5]
OWN = sorted((ROOT / "chains" / "report" / "controls").glob("*.yaml"))


def written(**given: Any) -> dict[str, Any]:
    control = {
        "id": "1.1",
        "title": "builds are signed",
        "highest": "evidenced",
        "partly": ["coverage >= 90"],
        "evidenced": ["ledger-unbroken"],
    }
    return {
        "apiVersion": "provenance.chains/v1",
        "kind": "ControlMap",
        "metadata": {"name": "ours"},
        "spec": {
            "framework": "Our rules",
            "version": "3",
            "source": "https://intranet.example.com/rules",
            "controls": [{key: value for key, value in (control | given).items() if value is not None}],
        },
    }


def problems(document: dict[str, Any]) -> list[str]:
    return [one.code for one in parse_maps(json.dumps(document).encode(), "ours.yaml")[1]]


def test_a_map_is_read_with_the_digest_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text(
        yaml.safe_dump(written(missing="what people decide", queries=["chains report check REPORT"]))
    )
    maps, wrong = read_maps([file])
    assert wrong == ()
    (one,) = maps
    assert (one.name, one.framework, one.version, one.ids) == ("ours", "Our rules", "3", Ids.PLAIN)
    assert re.fullmatch("[0-9a-f]{64}", one.digest)
    (control,) = one.controls
    assert control.highest is Highest.EVIDENCED
    assert control.partly == (Requirement("coverage", ">=", 90),)
    assert control.evidenced == (Requirement("ledger-unbroken"),)
    assert (control.missing, control.queries) == ("what people decide", ("chains report check REPORT",))


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"highest": "certified"}, ["wrong_value"]),
    ({"id": ""}, ["wrong_type"]),
    ({"id": " 1"}, ["wrong_type"]),
    ({"title": "two\nlines"}, ["wrong_type"]),
    ({"parly": ["coverage >= 90"]}, ["unknown_name"]),
    ({"partly": None}, ["demands_nothing"]),
    ({"evidenced": None}, ["demands_nothing"]),
    ({"partly": []}, ["too_few"]),
    ({"highest": "partly"}, ["no_effect", "missing_name"]),
    ({"highest": "not-here", "missing": "all of it"}, ["no_effect", "no_effect"]),
    ({"highest": "partly", "evidenced": None}, ["missing_name"]),
    ({"partly": ["luck >= 90"]}, ["requirement"]),
    ({"partly": ["coverage"]}, ["requirement"]),
    ({"partly": ["coverage >= 101"]}, ["requirement"]),
    ({"partly": ["coverage >= 0"]}, ["requirement"]),
    ({"partly": ["coverage <= 100"]}, ["requirement"]),
    ({"partly": ["ledger-unbroken = 1"]}, ["requirement"]),
    ({"partly": ["coverage >= 99.9"]}, ["wrong_type"]),
    ({"partly": ["coverage > 90"]}, ["wrong_type"]),
    ({"partly": ["coverage>=90"]}, ["wrong_type"]),
    ({"partly": ["not ledger-unbroken"]}, ["wrong_type"]),
    ({"queries": ["rm -rf /"]}, ["wrong_type"]),
    ({"queries": ["chains audit --from {since}"]}, ["placeholder"]),
    ({"queries": ["chains audit --from {from"]}, ["placeholder"]),
]


@pytest.mark.parametrize(("part", "codes"), WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_what_is_wrong_is_told(part: dict[str, Any], codes: list[str]) -> None:
    assert problems(written(**part)) == codes


def test_a_requirement_that_always_holds_is_refused() -> None:
    for text in ("evidenced-runs >= 0", "coverage >= 0", "coverage <= 100", "artifacts-attested <= 100"):
        with pytest.raises(ValueError, match="demands nothing"):
            Requirement.parse(text, FACTS)


def test_every_problem_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "ours.yaml"
    file.write_text(
        """apiVersion: provenance.chains/v1
kind: ControlMap
metadata: {name: ours}
spec:
  framework: Our rules
  version: "3"
  source: https://intranet.example.com/rules
  controls:
    - id: "1.1"
      title: builds are signed
      highest: evidenced
      partly: [coverage >= 90, ledger-unbrokn]
      evidenced: [coverage >= 200]
    - id: "1.1"
      title: builds are logged
      highest: partly
      partly: [ledger-unbroken]
"""
    )
    with pytest.raises(ControlMapError) as raised:
        load_maps([file])
    assert [(one.line, one.code) for one in raised.value.problems] == [
        (12, "requirement"), (13, "requirement"), (14, "id_twice"), (14, "missing_name"),
    ]  # fmt: skip
    assert str(raised.value.problems[0]).startswith(f"{file}:12:32: error: spec.controls[0].partly[1]: ")
    assert raised.value.exit_code == 2
    assert len(raised.value.lines) == 4


def test_a_map_of_the_same_name_replaces_ours(tmp_path: Path) -> None:
    document = written()
    document["metadata"]["name"] = "ssdf-1.1"
    (tmp_path / "ssdf.json").write_text(json.dumps(document))
    maps = load_maps([tmp_path])
    assert [one.name for one in maps] == sorted(one.name for one in own_maps())
    assert next(one for one in maps if one.name == "ssdf-1.1").framework == "Our rules"


def test_two_maps_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(json.dumps(written()))
    _, wrong = read_maps([tmp_path])
    assert [one.code for one in wrong] == ["name_twice"]
    assert "a.yaml" in wrong[0].message


def test_a_folder_without_maps_and_an_empty_file_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no control maps"):
        read_maps([tmp_path])
    (tmp_path / "x.yaml").write_text("# nothing\n")
    with pytest.raises(InputError, match="kind: ControlMap"):
        read_maps([tmp_path])
    (tmp_path / "x.yaml").unlink()
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(InputError, match="not a regular file"):
        read_maps([tmp_path])


def test_a_policy_is_no_control_map() -> None:
    document = written() | {"kind": "Policy"}
    assert problems(document) == ["wrong_type"]


# the maps that come with the program


def test_every_framework_has_its_map() -> None:
    assert [one.name for one in own_maps()] == [
        "cis-ssc-1.0", "cra-2024-2847", "fedramp-ksi-2026", "iso-27001-2022", "pci-dss-4.0.1", "s2c2f-1.1",
        "scvs-1.0", "slsa-build-1.2", "soc-2-tsc", "sp800-53-r5", "ssdf-1.1",
    ]  # fmt: skip
    assert [file.stem for file in OWN] == [one.name for one in own_maps()]


def test_every_own_map_names_its_source_and_what_is_missing() -> None:
    for one in own_maps():
        assert one.source.startswith("https://"), one.name
        for control in one.controls:
            assert len(control.title) <= 100, control
            assert control.missing or control.highest is Highest.EVIDENCED, control


def test_no_own_map_promises_more_than_a_report_can_show() -> None:
    """Rows about review, vulnerabilities, source hosts, registries and what runs are never claimed."""
    highest = {(one.name, each.id): each.highest for one in own_maps() for each in one.controls}
    for place in (
        ("ssdf-1.1", "PS.1.1"), ("ssdf-1.1", "PW.7"), ("ssdf-1.1", "RV.1"), ("sp800-53-r5", "SR-9"),
        ("sp800-53-r5", "CM-6"), ("fedramp-ksi-2026", "KSI-SCR-MON"), ("pci-dss-4.0.1", "11.5.2"),
        ("iso-27001-2022", "A.8.4"), ("cis-ssc-1.0", "2.4.4"), ("cra-2024-2847", "Annex I Part II (2)"),
        ("s2c2f-1.1", "SCA"),
    ):  # fmt: skip
        assert highest[place] is Highest.NOT_HERE, place
    for place in (
        ("slsa-build-1.2", "Isolated"), ("slsa-build-1.2", "Provenance is Unforgeable"),
        ("soc-2-tsc", "CC8.1"), ("sp800-53-r5", "AU-11"), ("pci-dss-4.0.1", "10.5.1"),
        ("cra-2024-2847", "Article 13(13)"), ("iso-27001-2022", "A.5.33"),
    ):  # fmt: skip
        assert highest[place] is Highest.PARTLY, place


# the schema


def _names(shape: Shape, schema: dict[str, Any]) -> None:
    if isinstance(shape, Fields):
        assert set(schema["properties"]) == set(shape.names)
        assert schema["additionalProperties"] is False
        for name, named in shape.names.items():
            _names(named.shape, schema["properties"][name])
    elif isinstance(shape, ListOf):
        _names(shape.item, schema["items"])


def test_the_published_schema_is_that_of_the_reader() -> None:
    _names(DOCUMENT, json_schema())
    assert json.loads((ROOT / "docs" / "controls.schema.json").read_text()) == json_schema()


@pytest.mark.parametrize("file", OWN, ids=[file.stem for file in OWN])
def test_own_maps_pass_the_published_schema(file: Path) -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    assert list(validator.iter_errors(yaml.safe_load(file.read_text()))) == []


def test_the_schema_refuses_what_the_reader_finds_by_shape() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    assert list(validator.iter_errors(written())) == []
    for part, codes in WRONG:
        if set(codes) <= {"wrong_type", "wrong_value", "unknown_name", "too_few"}:
            assert list(validator.iter_errors(written(**part))), part


def test_the_wheel_has_the_maps_and_the_pages(tmp_path: Path) -> None:
    from hatchling.builders.wheel import WheelBuilder

    wheel = next(iter(WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])))
    names = zipfile.ZipFile(wheel).namelist()
    assert {f"chains/report/controls/{file.name}" for file in OWN} <= set(names)
    assert "chains/report/pdf/report.typ" in names
