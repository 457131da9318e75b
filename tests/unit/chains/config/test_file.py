from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from chains.config.file import MAX_CONFIG
from chains.config.parse import lint_file, load_config_file
from chains.errors import ConfigError

DATA = {"artifacts.taskrun.storage": "oci", "artifacts.pipelinerun.storage": "oci", "_example": "text\n"}
MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "chains-config"}, "data": DATA}
OTHER = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other"}, "data": {"builder.id": "x"}}
SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "chains-config"}}


def write(folder: Path, content: Any, name: str = "config.yaml") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


FORMS = {
    "a manifest": [MAP],
    "the data": [DATA],
    "the data under its name": [{"data": DATA}],
    "a list": [{"kind": "List", "items": [SECRET, OTHER, MAP]}],
    "a typed list": [
        {"kind": "ConfigMapList", "items": [{k: v for k, v in MAP.items() if k != "kind"}, OTHER]}
    ],
    "a list in a list": [{"kind": "List", "items": [{"kind": "List", "items": [MAP]}]}],
    "several documents": [SECRET, OTHER, MAP],
}


@pytest.mark.parametrize("documents", FORMS.values(), ids=FORMS.keys())
def test_every_form_gives_the_same_data(documents: list[Any], tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump_all(documents))
    assert load_config_file(path) == DATA
    assert lint_file(path) == []
    if len(documents) == 1:
        assert load_config_file(write(tmp_path, orjson.dumps(documents[0]), "config.json")) == DATA
        assert load_config_file(write(tmp_path, orjson.dumps(documents[0]), "config.yaml")) == DATA


def test_it_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(orjson.dumps(MAP))))
    assert load_config_file(Path("-")) == DATA
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"#" * (MAX_CONFIG + 1))))
    with pytest.raises(ConfigError, match="standard input: larger than 1 MiB"):
        load_config_file(Path("-"))


def test_a_byte_order_mark_and_flow_style_do_no_harm(tmp_path: Path) -> None:
    assert load_config_file(write(tmp_path, b"\xef\xbb\xbf" + orjson.dumps(MAP), "c.json")) == DATA
    assert load_config_file(write(tmp_path, "{data: {builder.id: 'a:b'}}")) == {"builder.id": "a:b"}


def test_the_only_configmap_counts_whatever_its_name_and_lint_says_so(tmp_path: Path) -> None:
    path = write(tmp_path, yaml.safe_dump_all([SECRET, {**MAP, "metadata": {"name": "mine"}}]))
    assert load_config_file(path) == DATA
    assert [(problem.key, problem.severity) for problem in lint_file(path)] == [("metadata.name", "warning")]


@pytest.mark.parametrize("data", [None, {}])
def test_a_configmap_without_data_means_the_defaults(data: dict[str, str] | None, tmp_path: Path) -> None:
    assert load_config_file(write(tmp_path, yaml.safe_dump({**MAP, "data": data}))) == {}


def test_a_release_manifest_whose_data_is_commented_out_means_the_defaults(tmp_path: Path) -> None:
    text = (
        yaml.safe_dump(SECRET)
        + "---\n"
        + yaml.safe_dump({k: v for k, v in MAP.items() if k != "data"})
        + "# data:\n"
    )
    assert load_config_file(write(tmp_path, text)) == {}


def test_unquoted_booleans_and_integers_become_strings_with_a_problem(tmp_path: Path) -> None:
    text = "transparency.enabled: true\nstorage.oci.repository.insecure: False\nstorage.grafeas.projectid: 12345\n"
    plain = write(tmp_path, text, "plain.yaml")
    manifest = write(
        tmp_path,
        "kind: ConfigMap\nmetadata: {name: chains-config}\ndata:\n  " + "\n  ".join(text.split("\n")),
    )
    expected = {
        "transparency.enabled": "true",
        "storage.oci.repository.insecure": "false",
        "storage.grafeas.projectid": "12345",
    }
    for path, severity in ((plain, "warning"), (manifest, "error")):
        assert load_config_file(path) == expected
        found = {
            problem.key: problem.severity for problem in lint_file(path) if "in quotes" in problem.message
        }
        assert found == dict.fromkeys(expected, severity)


def test_values_that_no_string_can_stand_for_are_all_told_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path, "builder.id: 1.10\ntransparency:\n  enabled: 'true'\nstorage.gcs.bucket:\nnosuch: [a]\n"
    )
    with pytest.raises(ConfigError) as caught:
        load_config_file(path)
    assert caught.value.lines[0] == f"{path}:"
    assert len(caught.value.lines) == 5
    keys = ["builder.id", "transparency", "storage.gcs.bucket", "nosuch"]
    assert [problem.key for problem in caught.value.problems] == keys
    assert [problem.key for problem in lint_file(path) if problem.severity == "error"] == keys


BROKEN = {
    "nothing": ("", "empty; expected a ConfigMap or its data"),
    "comments alone": ("# nothing\n", "got nothing of either"),
    "a text": ("just words", "got nothing of either"),
    "a list of data": ("- builder.id: x", "got nothing of either"),
    "another kind": (yaml.safe_dump(SECRET), "got Secret"),
    "an operator's object": ("kind: TektonConfig\nspec: {chain: {builder.id: x}}", "got TektonConfig"),
    "two of one name": (yaml.safe_dump_all([MAP, MAP]), "holds 2 ConfigMaps named chains-config"),
    "two of other names": (yaml.safe_dump_all([OTHER, OTHER]), "none is named chains-config: other, other"),
    "data that is a list": (yaml.safe_dump({**MAP, "data": ["x"]}), "must be an object, got an array"),
    "an alias": ("data:\n  a: &a x\n  b: *a\n", "aliases are refused"),
    "a bomb": ("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\ndata: {d: *c}\n", "aliases are refused"),
    "a key twice": ("data:\n  builder.id: a\n  builder.id: b\n", "'builder.id' comes twice"),
    "a key twice in JSON": (
        '{"data":{"builder.id":"a","builder.id":"b"}}',
        "two members are named 'builder.id'",
    ),
    "no YAML": ("data: [", "not YAML"),
    "a python object": ("data: !!python/object/apply:os.getcwd []", "not YAML"),
    "too large": ("#" * (MAX_CONFIG + 1), "larger than 1 MiB"),
    "not text": (b"builder.id: \xc3\x28", "not YAML"),
    "deeply nested": ("[" * 5000, "not YAML"),
}


@pytest.mark.parametrize(("content", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_a_clear_error(content: str | bytes, words: str, tmp_path: Path) -> None:
    path = write(tmp_path, content)
    for read in (load_config_file, lint_file):
        with pytest.raises(ConfigError, match=words) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert caught.value.exit_code == 2


def test_a_missing_file_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config_file(tmp_path / "missing.yaml")


def test_lint_of_a_file_covers_form_and_content_errors_first(tmp_path: Path) -> None:
    path = write(
        tmp_path, "builder.id: [a]\nartifacts.taskrun.format: tekton\nno.such: x\nexecution.report: true\n"
    )
    found = [(problem.key, problem.severity) for problem in lint_file(path)]
    assert found[:3] == [("builder.id", "error"), ("no.such", "error"), ("artifacts.taskrun.format", "error")]
    assert ("execution.report", "warning") in found[3:]
