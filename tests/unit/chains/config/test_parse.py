from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chains.config.key import ConfigKey
from chains.config.keys import KEYS
from chains.config.parse import Config, lint_config, parse_config
from chains.errors import ConfigError

ROOT = Path(__file__).parents[4]
GOLDEN: dict[str, Any] = orjson.loads((ROOT / "tests/golden/config/cases.json").read_bytes())
SECRET = "s3cr3t-never-shown"


def value_at(config: Config, path: str) -> Any:
    value: Any = config
    for part in path.split("."):
        value = getattr(value, part)
    return list(value) if isinstance(value, tuple) else value


def test_no_data_means_the_defaults_of_tekton_chains() -> None:
    config = parse_config({})
    assert {path: value_at(config, path) for path in GOLDEN["defaults"]} == GOLDEN["defaults"]
    assert config.execution_report
    assert not config.native_artifacts
    assert config.storage.oci.ca_file == ""
    assert config.unknown == ()


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: str(orjson.dumps(case["data"])[:60]))
def test_the_same_data_means_the_same_as_in_tekton_chains(case: dict[str, Any]) -> None:
    if case.get("refused"):
        with pytest.raises(ConfigError) as caught:
            parse_config(case["data"])
        assert caught.value.problems
        return
    config = parse_config(case["data"])
    expected = {**GOLDEN["defaults"], **case["differs"]}
    assert {path: value_at(config, path) for path in expected} == expected


@pytest.mark.parametrize("key", [key for key in KEYS.values() if not key.ours], ids=lambda key: key.name)
def test_the_golden_cases_speak_of_every_key(key: ConfigKey) -> None:
    cases = [case for case in GOLDEN["cases"] if list(case["data"]) == [key.name]]
    changed = [case for case in cases if case.get("differs")]
    only_one = key.name == "artifacts.oci.format"
    assert changed or only_one
    refuses = any(case.get("refused") for case in cases)
    assert refuses == (key.kind in {"enum", "list"} and not key.lenient)


def test_every_leaf_of_the_configuration_comes_from_a_key_of_its_own() -> None:
    defaults = dict(_leaves(parse_config({})))
    touched: dict[str, str] = {}
    for key in KEYS.values():
        if len(key.values) == 1:
            continue
        changed = parse_config({key.name: _other(key)})
        differing = [path for path, value in _leaves(changed) if value != defaults[path]]
        assert len(differing) == 1, key.name
        assert touched.setdefault(differing[0], key.name) == key.name
    assert set(defaults) - set(touched) == {"oci.format", "transparency.manual", "unknown"}


def _leaves(config: Any, start: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        path = start + field.name
        found += _leaves(value, path + ".") if dataclasses.is_dataclass(value) else [(path, value)]
    return found


def _other(key: ConfigKey) -> str:
    if key.kind == "signers":
        return '[{"name": "a", "reference": "/keys/a.key", "namespaces": ["team-a"]}]'
    if key.kind == "bool":
        return "false" if key.default == "true" else "true"
    if key.kind in {"number", "since", "duration"}:
        return {"number": "2.5", "since": "7d", "duration": "90s"}[key.kind]
    return next((word for word in key.values if word != key.default), "") if key.values else "another"


@pytest.mark.parametrize("key", KEYS.values(), ids=lambda key: key.name)
def test_every_default_reads_as_itself(key: ConfigKey) -> None:
    assert key.default == "" or key.read(key.default) == key.default
    assert parse_config({key.name: key.default} if key.default else {}) == parse_config({})
    assert key.doc.endswith(".")


@pytest.mark.parametrize("raw", ["1", "t", "T", "TRUE", "true", "True"])
@pytest.mark.parametrize(
    "key", [key for key in KEYS.values() if key.kind == "bool"], ids=lambda key: key.name
)
def test_booleans_are_those_of_go(key: ConfigKey, raw: str) -> None:
    assert key.read(raw) == "true"
    assert (
        key.read({"1": "0", "t": "f", "T": "F", "TRUE": "FALSE", "true": "false", "True": "False"}[raw])
        == "false"
    )


@pytest.mark.parametrize("raw", ["yes", "tRUE", " true", "", "2"])
def test_a_wrong_boolean_keeps_the_default_of_chains_keys_and_is_an_error_for_lint(raw: str) -> None:
    name = "storage.oci.repository.insecure"
    assert not parse_config({name: raw}).storage.oci.insecure
    assert [problem.key for problem in lint_config({name: raw}) if problem.severity == "error"] == [name]


@pytest.mark.parametrize("name", ["execution.report", "artifacts.native.enabled"])
def test_a_wrong_boolean_of_our_own_keys_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: expected true or false, got 'nope'"):
        parse_config({name: "nope"})


@pytest.mark.parametrize(
    ("raw", "seconds"), [("90s", 90), ("30m", 1800), ("1h", 3600), ("2d", 172_800), ("0", 0), ("", 0)]
)
def test_how_long_an_image_is_waited_for_is_read_in_seconds(raw: str, seconds: int) -> None:
    assert parse_config({"storage.oci.wait-for-image": raw}).storage.oci.wait_for_image == seconds


@pytest.mark.parametrize(
    "raw", ["1", "-1h", "1.5h", "1h30m", "h", "1 h", "\N{ARABIC-INDIC DIGIT ONE}h", "9999999d"]
)
def test_a_wrong_duration_is_refused(raw: str) -> None:
    with pytest.raises(ConfigError, match="wait-for-image: expected a whole number of seconds, minutes"):
        parse_config({"storage.oci.wait-for-image": raw})


def test_our_own_keys_are_read() -> None:
    data = {
        "execution.report": "false",
        "artifacts.native.enabled": "1",
        "storage.oci.ca-file": "/etc/ca.pem",
    }
    config = parse_config(data | {"storage.oci.encoding-format": "both"})
    assert (config.execution_report, config.native_artifacts) == (False, True)
    assert (config.storage.oci.ca_file, config.storage.oci.encoding_format) == ("/etc/ca.pem", "both")


def test_an_artifact_is_disabled_by_an_empty_storage_key_and_by_the_signer_none() -> None:
    assert not parse_config({"artifacts.taskrun.storage": ""}).taskrun.enabled
    assert parse_config({"artifacts.taskrun.storage": ""}).taskrun.storage == ()
    assert not parse_config({"artifacts.oci.signer": "none"}).oci.enabled
    assert parse_config({"artifacts.pipelinerun.storage": "oci"}).pipelinerun.enabled


def test_every_refused_value_is_told_at_once_with_what_was_meant() -> None:
    data = {
        "artifacts.taskrun.format": "slsa/v2alpha2",
        "artifacts.oci.storage": "oci, nowhere",
        "artifacts.pipelinerun.signer": "KMS",
        "storage.pubsub.provider": "",
        "transparency.enabled": "True",
        "no.such.key": "x",
    }
    with pytest.raises(ConfigError) as caught:
        parse_config(data)
    assert {problem.key: problem.suggestion for problem in caught.value.problems} == {
        "artifacts.taskrun.format": "slsa/v2alpha3",
        "artifacts.oci.storage": "",
        "artifacts.pipelinerun.signer": "kms",
        "storage.pubsub.provider": "",
    }
    assert caught.value.exit_code == 2
    text = str(caught.value)
    first, *problems = caught.value.lines
    assert first == "the configuration cannot be used:"
    assert problems == [str(problem) for problem in caught.value.problems]
    assert text == f"{first} {'; '.join(problems)}", "one line, as an Event and a log have it"
    assert "got 'nowhere'" in text
    assert (
        "artifacts.pipelinerun.signer: expected one of x509, kms, none, got 'KMS'; did you mean kms?" in text
    )


def test_unknown_keys_are_kept_by_name_and_examples_are_not() -> None:
    config = parse_config({"artifacts.taskrun.formt": "x", "_example": "text", "builder.id": "b:1"})
    assert config.unknown == ("artifacts.taskrun.formt",)


def test_a_configuration_can_be_compared_and_printed_but_not_changed() -> None:
    config = parse_config({"builder.id": "urn:b"})
    assert config == parse_config({"builder.id": "urn:b"})
    with pytest.raises(dataclasses.FrozenInstanceError, match="cannot assign to field 'builder_id'"):
        config.builder_id = "other"  # type: ignore[misc]


@pytest.mark.parametrize("key", [key for key in KEYS.values() if key.secret], ids=lambda key: key.name)
@pytest.mark.parametrize("form", ["{}", " {} ", "https://u:{}@host", "{}\n"])
def test_secrets_are_never_shown(key: ConfigKey, form: str) -> None:
    data = {
        key.name: form.format(SECRET),
        "artifacts.taskrun.signer": "kms",
        "artifacts.oci.storage": "docdb",
    }
    assert SECRET not in repr(parse_config(data))
    assert SECRET not in repr(lint_config(data))
    assert SECRET not in repr(lint_config({key.name + "x": SECRET}))
    assert SECRET in value_at(parse_config(data), "signers.kms.token") + value_at(
        parse_config(data), "storage.docdb.mongo_server_url"
    )


def test_passwords_in_urls_are_never_shown() -> None:
    problems = lint_config(
        {"transparency.url": f"ftp://user:{SECRET}@log.example", "transparency.enabled": "true"}
    )
    assert any(problem.key == "transparency.url" for problem in problems)
    assert SECRET not in repr(problems)


def test_long_values_are_cut() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"artifacts.taskrun.signer": "x" * 5000})
    assert len(str(caught.value)) < 300


_values = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", "true", "oci,gcs", "none", "kms", "http://[", "mongo://a", "https://h:99999", "\ud800"]
    ),
)


@settings(deadline=None)
@given(st.dictionaries(st.one_of(st.sampled_from(sorted(KEYS)), st.text(max_size=8)), _values, max_size=8))
def test_whatever_the_data_it_parses_or_is_refused_and_lint_says_no_less(data: dict[str, str]) -> None:
    found = lint_config(data)
    errors = {problem.key for problem in found if problem.severity == "error"}
    try:
        lost = parse_config(data).unknown
    except ConfigError as error:
        lost = tuple(problem.key for problem in error.problems)
    assert set(lost) <= errors


def test_the_page_about_the_configuration_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "docs/generate_configuration.py"))
    written = script["PAGE"].read_text(encoding="utf-8")
    assert written == script["configuration_page"](), "run: python docs/generate_configuration.py"
