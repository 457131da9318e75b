"""Policy documents: every problem at once, with its place; the schema and the reader agree."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from chains.errors import InputError
from chains.policy.document.format import DOCUMENT, Mode, json_schema
from chains.policy.document.load import PolicyError, load_policies, parse_policies
from chains.policy.document.shapes import Fields, ListOf, Shape, TextOr
from tests.faults.verify.forge import BUILDER, IMAGE, public
from tests.unit.chains.policy.made import document, problems, trust

Json = Any

FULL = f"""\
apiVersion: provenance.chains/v1
kind: Policy
metadata: {{name: production}}
spec:
  match:
    images: ["{IMAGE}"]
    namespaces:
      names: [shop-*]
      matchLabels: {{env: prod}}
      matchExpressions: [{{key: tier, operator: In, values: [front]}}]
  mode: warn
  missing: warn
  unavailable: deny
  cacheSeconds: 60
  trust:
  - name: tekton
    signer:
      keys:
      - ref: signing.pub
        from: 2026-01-01T00:00:00Z
        until: 2027-01-01T00:00:00+01:00
    builderId: {BUILDER}
    maxLevel: 3
  require:
    level: 2
    maxAge: 30d
    sources: ["git+https://git.example.com/a/b.git", {{uri: https://git.example.com/c/d, refs: [refs/tags/*]}}]
  rules:
  - {{name: r, cel: "true", message: m}}
  exemptions:
  - {{image: "{IMAGE}", rules: [level, r], until: 2027-01-01T00:00:00Z, reason: x, reference: T-1}}
"""


def full() -> str:
    # an age needs a trusted root, which this document does not have
    return FULL.replace("    maxAge: 30d\n", "")


def test_every_part_of_a_document_is_read() -> None:
    read = parse_policies(full().encode(), "policy.yaml", "/policies")
    assert not read.problems
    (policy,) = read.policies
    assert (policy.name, policy.mode, policy.cache_seconds) == ("production", Mode.WARN, 60)
    assert [str(source) for source in policy.require.sources] == [
        "git+https://git.example.com/a/b",
        "git+https://git.example.com/c/d at refs/tags/*",
    ]
    (key,) = policy.trust[0].signer.keys
    assert key.not_after is not None
    assert key.not_after.isoformat() == "2026-12-31T23:00:00+00:00"
    assert policy.exemptions[0].rules == ("level", "r")


def test_json_and_yaml_give_the_same_policy() -> None:
    as_json = json.dumps(yaml.load(full(), Loader=yaml.BaseLoader)).replace('"3"', "3")
    as_json = as_json.replace('"2"', "2").replace('"60"', "60")
    first = parse_policies(full().encode(), "a.yaml").policies[0]
    second = parse_policies(as_json.encode(), "a.yaml").policies[0]
    assert {**_plain(first), "digest": ""} == {**_plain(second), "digest": ""}


def _plain(policy: object) -> dict[str, Json]:
    return {name: getattr(policy, name) for name in policy.__dataclass_fields__}  # type: ignore[attr-defined]


def test_all_problems_are_told_at_once_with_line_and_column() -> None:
    broken = (
        full()
        .replace("mode: warn", "mode: wran")
        .replace("level: 2", "levle: 2")
        .replace("maxLevel: 3", "maxLevel: 9")
        .replace("  rules:\n", "  ruels: []\n  rules:\n")
    )
    found = parse_policies(broken.encode(), "policy.yaml").problems
    lines = broken.splitlines()
    places = {
        problem.code + " " + problem.path: lines[problem.line - 1][problem.column - 1 :] for problem in found
    }
    assert places == {
        "wrong_value spec.mode": "mode: wran",
        "unknown_name spec.require.levle": "levle: 2",
        "wrong_type spec.trust[0].maxLevel": "maxLevel: 9",
        "unknown_name spec.ruels": "ruels: []",
    }
    told = " ".join(problem.message for problem in found)
    for near in ("'warn'", "'level'", "'rules'"):
        assert f"did you mean {near}" in told


WRONG: list[tuple[Json, str]] = [
    ({"trust": []}, "too_few"),
    ({"trust": [{**trust(), "builderId": None}]}, "wrong_type"),
    ({"trust": [{name: value for name, value in trust().items() if name != "builderId"}]}, "missing_name"),
    ({"trust": [{**trust(), "signer": {}}]}, "nobody"),
    ({"trust": [trust(), trust()]}, "name_twice"),
    ({"trust": [trust(**{"from": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"})]}, "window"),
    ({"trust": [{**trust(), "signer": {"keys": [{"pem": "x", "ref": "y"}]}}]}, "one_of"),
    ({"trust": [{**trust(), "signer": {"identity": {"san": "a"}}}]}, "identity"),
    ({"trust": [{**trust(), "signer": {"identity": {"san": "a", "issuer": "b"}}}]}, "no_trusted_root"),
    (
        {"trust": [{**trust(), "signer": {"identity": {"sanRegexp": "(a+)+", "issuer": "b"}}}]},
        "regexp",
    ),
    ({"require": {"level": True}}, "wrong_type"),
    ({"require": {"level": 0}}, "wrong_type"),
    ({"require": {"sources": ["app"]}}, "source"),
    ({"require": {"sources": ["git+https://git.example.com/a/b@refs/tags/v1"]}}, "source"),
    ({"require": {"maxAge": "1 day"}}, "wrong_type"),
    ({"require": {"maxAge": "30d"}}, "no_trusted_root"),
    ({"require": {"log": True}}, "no_trusted_root"),
    ({"require": {"hermetic": True}}, "wrong_value"),
    ({"require": {"rejectedHints": True}}, "wrong_value"),
    ({"require": {"stepImages": {"repositories": ["App"]}}}, "pattern"),
    ({"rules": [{"name": "level", "cel": "true", "message": "m"}]}, "name_taken"),
    ({"rules": [{"name": "a", "cel": "true"}]}, "missing_name"),
    ({"exemptions": [{"image": IMAGE, "rules": ["level"], "until": "soon"}]}, "wrong_type"),
    ({"exemptions": [{"image": IMAGE, "rules": ["level"], "reason": "r", "reference": "t"}]}, "missing_name"),
    (
        {
            "exemptions": [
                {
                    "image": IMAGE,
                    "rules": ["levels"],
                    "until": "2027-01-01T00:00:00Z",
                    "reason": "r",
                    "reference": "t",
                }
            ]
        },
        "unknown_rule",
    ),
    (
        {
            "exemptions": [
                {
                    "image": IMAGE,
                    "rules": ["evidence"],
                    "until": "2027-01-01T00:00:00Z",
                    "reason": "r",
                    "reference": "t",
                }
            ]
        },
        "exemption",
    ),
    ({"mode": "Enforce"}, "wrong_value"),
    ({"cacheSeconds": -1}, "wrong_type"),
    ({"signers": [{"predicateType": "https://a/b"}]}, "nobody"),
]


@pytest.mark.parametrize(("part", "code"), WRONG)
def test_what_is_wrong_has_a_code(part: dict[str, Json], code: str) -> None:
    found = problems(document(**part))
    assert code in found
    assert not parse_policies(json.dumps(document(**part)).encode(), "policy.yaml").policies


def test_a_policy_that_trusts_nobody_verifies_nothing() -> None:
    read = parse_policies(json.dumps(document(trust=[])).encode(), "policy.yaml")
    assert [problem.code for problem in read.problems] == ["too_few"]


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"{", b"a: [", b"a: &x 1\nb: *x", b"a: 1\na: 2", b"\xff\xfe", b"[" * 5000]
)
def test_what_is_no_document_is_an_input_error(data: bytes) -> None:
    with pytest.raises(InputError):
        parse_policies(data, "policy.yaml")


@pytest.mark.parametrize("data", [b"1", b"[]", b"'text'", b"{}", b"kind: Policy"])
def test_another_document_is_no_policy(data: bytes) -> None:
    read = parse_policies(data, "policy.yaml")
    assert read.errors
    assert not read.policies


def test_a_folder_has_several_files_and_documents(tmp_path: Path) -> None:
    one, two, three = (json.dumps(document(name)) for name in ("one", "two", "three"))
    (tmp_path / "a.yaml").write_text(f"{one}\n---\n{two}\n")
    (tmp_path / "b.json").write_text(three)
    (tmp_path / "notes.txt").write_text("no policy")
    assert [policy.name for policy in load_policies(tmp_path)] == ["one", "two", "three"]
    (tmp_path / "c.json").write_text(two)
    with pytest.raises(PolicyError, match="'two' is defined twice"):
        load_policies(tmp_path)


@pytest.mark.parametrize("name", ["strict.yaml", "strict.YAML", "strict.Json"])
def test_no_policy_of_a_folder_is_left_out_because_it_cannot_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.yaml").write_text(json.dumps(document("lax")))
    strict = tmp_path / name
    strict.write_text(json.dumps(document("strict")))
    assert {policy.name for policy in load_policies(tmp_path)} == {"lax", "strict"}
    strict.unlink()
    strict.symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=name):
        load_policies(tmp_path)
    strict.unlink()
    os.mkfifo(strict)
    with pytest.raises(InputError, match="not a regular file"):
        load_policies(tmp_path)
    strict.unlink()
    strict.mkdir()
    assert [policy.name for policy in load_policies(tmp_path)] == ["lax"], "a folder in a folder is not read"


def test_a_folder_without_policies_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no policies"):
        load_policies(tmp_path)


def _names(shape: Shape, schema: Json) -> None:
    if isinstance(shape, Fields):
        assert set(schema["properties"]) == set(shape.names)
        assert schema["additionalProperties"] is False
        assert schema.get("required", []) == [name for name, named in shape.names.items() if named.required]
        for name, named in shape.names.items():
            assert schema["properties"][name]["description"]
            _names(named.shape, schema["properties"][name])
    elif isinstance(shape, ListOf):
        _names(shape.item, schema["items"])
    elif isinstance(shape, TextOr):
        _names(shape.fields, schema["oneOf"][1])


def test_the_published_schema_has_the_names_of_the_reader() -> None:
    _names(DOCUMENT, json_schema())
    published = Path(__file__).parents[5] / "docs" / "policy.schema.json"
    assert json.loads(published.read_text()) == json_schema()


def test_the_schema_takes_what_the_reader_takes() -> None:
    validator = jsonschema.Draft202012Validator(json_schema())
    assert not list(validator.iter_errors(document(require={"level": 2})))
    for part, code in WRONG:
        if code in {"wrong_type", "wrong_value", "missing_name", "unknown_name", "one_of"}:
            is_flag = "rejectedHints" in str(part)
            assert is_flag or list(validator.iter_errors(document(**part))), part


def test_no_text_of_a_key_is_in_a_message() -> None:
    secret = "-----BEGIN PRIVATE KEY-----\nMIGH\n-----END PRIVATE KEY-----\n"
    broken = document(trust=[{**trust(), "signer": {"keys": [{"pem": secret, "until": 5}]}}])
    told = str(parse_policies(json.dumps(broken).encode(), "policy.yaml").problems)
    assert "MIGH" not in told
    assert public().keyid not in told
