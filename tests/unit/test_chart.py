"""The chart and the manifests of a release are made from the manifests of ``deploy/``, and are what these say now."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

import chains
from tests.testbed.kustomize import build, identity

Json = Any
ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHARTS = sorted(path.parent for path in (DEPLOY / "helm").glob("*/Chart.yaml"))
CHART = DEPLOY / "helm" / "provenance-chains"
every_chart = pytest.mark.parametrize("chart", CHARTS, ids=[path.name for path in CHARTS])
IMAGE = "registry.example.com:5000/team/provenance-chains@sha256:" + "ab" * 32
THEIRS = {("Namespace", "", "tekton-chains"), ("ConfigMap", "tekton-chains", "chains-config")}
"""What belongs to the user of ``release.yaml``."""


def program(path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a program of ``deploy/`` as a module, with those beside it."""
    monkeypatch.syspath_prepend(str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def values(chart: Path = CHART) -> Json:
    return yaml.safe_load((chart / "values.yaml").read_text())


def schema(chart: Path = CHART) -> Json:
    return json.loads((chart / "values.schema.json").read_text())


def test_every_generated_file_of_the_charts_is_what_the_manifests_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files = program(DEPLOY / "helm" / "generate.py", monkeypatch).files()
    stale = [path for path, text in files.items() if not path.exists() or path.read_text() != text]
    assert stale == [], "run python deploy/helm/generate.py"
    templates = {path for chart in CHARTS for path in (chart / "templates").rglob("*.yaml")}
    by_hand = {"chains-config.yaml", "doctor.yaml", "namespace-check.yaml"}
    assert {path.name for path in templates - set(files)} == by_hand


def test_a_manifest_that_changed_where_a_value_stands_stops_the_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generate = program(DEPLOY / "helm" / "generate.py", monkeypatch)
    template = generate.Template("x.yaml", "base/service.yaml", (generate.Edit("port: 9091", "port: 1"),))
    with pytest.raises(generate.StaleError, match="expected 1 times, found 0: 'port: 9091'"):
        generate.render(template)


def objects_of(part: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Json]]:
    """Yield every object of the schema that names its properties."""
    if "properties" in part:
        yield path, part
        for name, child in part["properties"].items():
            yield from objects_of(child, (*path, name))


@every_chart
def test_the_schema_knows_every_value_and_no_other(chart: Path) -> None:
    given = values(chart)
    for path, part in objects_of(schema(chart)):
        here = given
        for name in path:
            here = here[name]
        # "global" is Helm's own
        assert set(part["properties"]) - {"global", "claims"} == set(here), path
        assert part["additionalProperties"] is False
    jsonschema.validate(given, schema(chart))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("replica",), 2), (("image", "name"), "x"), (("image", "digest"), "sha256:abc"), (("image", "tag"), "a b"),
        (("image", "repository"), "https://registry.example.com/x"), (("replicas",), 0), (("replicas",), "2"),
        (("config", "data", "transparency.enabled"), True), (("config", "data", "Storage"), "x"),
        (("namespaces",), ["Not A Name"]), (("namespaces",), ["a", "a"]), (("ledger", "enabled"), True),
        (("networkPolicy", "metricsFrom"), ""), (("secrets", "signing"), ""), (("extraArgs",), [1]),
        (("podLabels", "x"), 1), (("image", "pullPolicy"), "always"), (("ledger", "accessModes"), []),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused(path: tuple[str, ...], value: Json) -> None:
    given = values()
    *parents, last = path
    here = given
    for name in parents:
        here = here[name]
    here[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(given, schema())


@every_chart
def test_every_value_has_a_sentence_in_the_table(chart: Path) -> None:
    table = (chart / "README.md").read_text()
    for name, value in values(chart).items():
        leaves = [f"{name}.{each}" for each in value] if isinstance(value, dict) and value else [name]
        assert all(f"| `{each}` |" in table for each in leaves) or f"| `{name}` |" in table, name


@every_chart
def test_a_chart_has_the_version_of_the_project(chart: Path) -> None:
    described = yaml.safe_load((chart / "Chart.yaml").read_text())
    assert described["version"] == described["appVersion"] == chains.__version__
    assert described["name"] == chart.name


def test_a_release_has_the_base_without_what_is_the_user_s_and_one_image_by_digest(tmp_path: Path) -> None:
    command = [sys.executable, DEPLOY / "write_release.py", "--image", IMAGE, "--output", tmp_path]
    subprocess.run(command, check=True, capture_output=True)
    files = {path.name: list(yaml.safe_load_all(path.read_text())) for path in tmp_path.iterdir()}
    assert set(files) == {"release.yaml", "chains-config.yaml", "uninstall.yaml"}
    base = {identity(each): each for each in build(DEPLOY / "base")}
    released = {identity(each): each for each in files["release.yaml"]}
    assert set(base) - set(released) == THEIRS
    assert {identity(each) for each in files["chains-config.yaml"]} < THEIRS
    workload = ("StatefulSet", "tekton-chains", "tekton-chains-controller")
    (container,) = base[workload]["spec"]["template"]["spec"]["containers"]
    container["image"] = IMAGE
    assert released == {key: base[key] for key in released}
    assert list(released)[-1] == workload
    uninstall = build(DEPLOY / "uninstall")
    uninstall[-1]["spec"]["template"]["spec"]["containers"][0]["image"] = IMAGE
    assert files["uninstall.yaml"] == uninstall


@pytest.mark.parametrize("image", ["x/y:1", "x/y@sha256:12", "x/y@sha256:" + "g" * 64, ""])
def test_an_image_that_is_not_pinned_is_no_release(image: str, tmp_path: Path) -> None:
    command = [sys.executable, DEPLOY / "write_release.py", "--image", image, "--output", tmp_path / "out"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "expected NAME@sha256:" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_job_of_the_uninstallation_is_restricted_and_may_only_what_it_does() -> None:
    manifests = build(DEPLOY / "uninstall")
    pod = manifests[-1]["spec"]["template"]["spec"]
    base = next(each for each in build(DEPLOY / "base") if each["kind"] == "StatefulSet")
    theirs = base["spec"]["template"]["spec"]
    assert pod["containers"][0]["securityContext"] == theirs["containers"][0]["securityContext"]
    assert pod["securityContext"].items() <= theirs["securityContext"].items()
    (role,) = (each for each in manifests if each["kind"] == "ClusterRole")
    runs = {
        "apiGroups": ["tekton.dev"],
        "resources": ["taskruns", "pipelineruns"],
        "verbs": ["get", "list", "patch"],
    }
    assert role["rules"] == [runs]
