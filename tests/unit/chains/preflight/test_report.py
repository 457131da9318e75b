"""Reports that other programs read: JUnit that every XML parser takes, SARIF as its schema wants it."""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from chains.cli.main import run as chains
from chains.preflight.inventory import Inventory, from_files
from chains.preflight.report import artifact_location, to_junit, to_sarif
from chains.tekton.workloads import uses_of
from tests.unit.chains.policy.made import REF, document
from tests.unit.chains.preflight.made import OTHER_REF, checked, inventory_of, workload

Json = Any
HOSTILE = "registry.example.com/<b>&\u001b[31m\u202e"
URI = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-F]{2})+")
"""The characters that RFC 3986 allows in a path; no query and no fragment."""


def test_reports_escape_what_objects_name() -> None:
    inventory = inventory_of(workload("Pod", HOSTILE, REF, OTHER_REF, name="<evil>&\u0000\ud800"))
    found = checked(inventory)
    tree = ET.fromstring(to_junit(found, inventory))
    assert (tree.get("tests"), tree.get("failures"), tree.get("errors")) == ("3", "1", "1")
    text = to_junit(found, inventory) + json.dumps(to_sarif(found, inventory, "1"), ensure_ascii=False)
    assert not {"\u001b", "\u202e", "\u0000", "\ud800"} & set(text)


@pytest.mark.parametrize("code", [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0xD800, 0xFFFE, 0xFFFF, 0x10FFFF])
def test_junit_is_well_formed_whatever_character_a_name_has(code: int) -> None:
    text = f"a{chr(code)}]]>&\"'<"
    inventory = inventory_of(
        workload("Pod", f"{OTHER_REF}{text}", OTHER_REF, None, name=text, namespace=text)
    )
    tree = ET.fromstring(to_junit(checked(inventory), inventory).encode())
    assert [case.get("classname", "")[0] for case in tree] == ["a", "a", "i"]
    assert int(tree.get("tests", "0")) == len(list(tree))


def test_sarif_has_a_result_for_each_place() -> None:
    inventory = Inventory()
    for at in range(3):
        for use in uses_of(workload("Pod", OTHER_REF, name=f"p{at}"), "pods.yaml"):
            inventory.uses.append(use)
    (run,) = to_sarif(checked(inventory), inventory, "1.0")["runs"]
    assert len(run["results"]) == 3
    place = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert place == {"uri": "pods.yaml", "uriBaseId": "%SRCROOT%"}
    assert run["tool"]["driver"]["rules"] == [{"id": "subject_mismatch"}]
    assert all(result["ruleIndex"] == 0 for result in run["results"])
    assert run["invocations"] == [
        {"executionSuccessful": True, "exitCode": 1, "toolExecutionNotifications": []}
    ]


def test_sarif_tells_what_could_not_be_read() -> None:
    inventory = inventory_of(workload("Pod", None))
    (run,) = to_sarif(checked(inventory), inventory, "1.0")["runs"]
    (invocation,) = run["invocations"]
    assert (invocation["executionSuccessful"], invocation["exitCode"]) == (False, 4)
    assert invocation["toolExecutionNotifications"] == [
        {"level": "error", "message": {"text": "Pod/shop/web: container c0 has no image"}}
    ]


@pytest.mark.parametrize(
    ("path", "uri"),
    [
        ("web.yaml", "web.yaml"),
        ("./web.yaml", "web.yaml"),
        ("a b/c d.yaml", "a%20b/c%20d.yaml"),
        ("100%.yaml", "100%25.yaml"),
        ("%41.yaml", "%2541.yaml"),
        ("Gemüse/日本.yaml", "Gem%C3%BCse/%E6%97%A5%E6%9C%AC.yaml"),
        ("a:b.yaml", "a%3Ab.yaml"),
        ("a?b#c.yaml", "a%3Fb%23c.yaml"),
        ("a\\b.yaml", "a%5Cb.yaml"),
        ("a\n\x1b\u202e.yaml", "a%0A%1B%E2%80%AE.yaml"),
        ("x/../web.yaml", "web.yaml"),
        (os.fsdecode(b"\xff\xfe.yaml"), "%FF%FE.yaml"),
    ],
    ids=ascii,
)
def test_the_address_of_a_file_is_a_uri_relative_to_the_folder(
    path: str, uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert artifact_location(path) == {"uri": uri, "uriBaseId": "%SRCROOT%"}
    assert artifact_location(str(tmp_path / path)) == {"uri": uri, "uriBaseId": "%SRCROOT%"}
    assert URI.fullmatch(uri)
    assert urlsplit(uri).scheme == ""


def test_a_file_outside_of_the_folder_has_an_absolute_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in").mkdir()
    monkeypatch.chdir(tmp_path / "in")
    found = artifact_location("../out side.yaml")
    assert list(found) == ["uri"]
    assert found["uri"].startswith("file:///")
    assert unquote(urlsplit(found["uri"]).path) == str(tmp_path / "out side.yaml")


def test_standard_input_has_no_address() -> None:
    inventory = Inventory()
    inventory.uses += uses_of(workload("Pod", OTHER_REF), "standard input")
    (result,) = to_sarif(checked(inventory), inventory, "1")["runs"][0]["results"]
    assert list(result["locations"][0]) == ["logicalLocations"]


SHAPES: Json = {
    "log": ({"$schema", "version", "runs"}, {"version", "runs"}),
    "run": ({"tool", "invocations", "originalUriBaseIds", "results"}, {"tool"}),
    "driver": ({"name", "version", "rules"}, {"name"}),
    "invocation": (
        {"executionSuccessful", "exitCode", "toolExecutionNotifications"},
        {"executionSuccessful"},
    ),
    "notification": ({"level", "message"}, {"message"}),
    "result": (
        {"ruleId", "ruleIndex", "level", "message", "locations", "partialFingerprints"},
        {"message"},
    ),
    "location": ({"physicalLocation", "logicalLocations"}, set()),
    "artifactLocation": ({"uri", "uriBaseId"}, set()),
    "logicalLocation": ({"fullyQualifiedName", "kind"}, set()),
}
"""Of the objects of SARIF 2.1.0 that are written: those of the schema's members, and what it requires. The schema
allows no other members in any of them."""


def shaped(name: str, value: Json) -> Json:
    allowed, required = SHAPES[name]
    assert required <= set(value) <= allowed, (name, value)
    return value


def test_sarif_is_as_its_schema_wants_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("policy.json").write_text(json.dumps(document()))
    odd = Path("ma ni/fests %?#ü")
    odd.mkdir(parents=True)
    (odd / "pod.json").write_text(json.dumps(workload("Pod", OTHER_REF, f"{OTHER_REF}x", None, "busybox")))
    arguments = ["preflight", "policy.json", str(odd), "--store", "oci-layout:none", "--output", "sarif"]
    assert chains(arguments) == 4
    log = shaped("log", json.loads(capsys.readouterr().out))
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("/sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    driver = shaped("driver", shaped("run", run)["tool"]["driver"])
    rules = [rule["id"] for rule in driver["rules"]]
    assert len(rules) == len(set(rules))
    for invocation in run["invocations"]:
        for notification in shaped("invocation", invocation)["toolExecutionNotifications"]:
            assert shaped("notification", notification)["level"] in {"none", "note", "warning", "error"}
    assert len(run["results"]) == 3
    for result in run["results"]:
        shaped("result", result)
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in {"none", "note", "warning", "error"}
        assert result["message"]["text"]
        assert all(isinstance(value, str) for value in result["partialFingerprints"].values())
        for location in result["locations"]:
            shaped("location", location)
            place = shaped("artifactLocation", location["physicalLocation"]["artifactLocation"])
            assert URI.fullmatch(place["uri"])
            assert place["uriBaseId"] in run["originalUriBaseIds"]
            assert Path(unquote(place["uri"])) == odd / "pod.json"
            for logical in location["logicalLocations"]:
                shaped("logicalLocation", logical)


def test_a_file_whose_name_is_no_text_is_read_and_told(tmp_path: Path) -> None:
    for name, text in ((b"\xffpod.json", json.dumps(workload("Pod", OTHER_REF))), (b"\xffbad.yaml", "a: [")):
        (tmp_path / os.fsdecode(name)).write_text(text)
    inventory = Inventory()
    from_files([str(tmp_path)], inventory)
    assert inventory.problems[0].startswith(f"{tmp_path}/\\xffbad.yaml: not YAML: ")
    (run,) = to_sarif(checked(inventory), inventory, "1")["runs"]
    uri = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    assert uri.endswith("/%FFpod.json")
