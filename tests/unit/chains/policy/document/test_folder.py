"""A folder of policies, with the files that they name beside them, as a ConfigMap is mounted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chains.errors import InputError
from chains.policy.document.load import PolicyError, load_policies
from tests.faults.verify.forge import BUILDER, public
from tests.unit.chains.policy.made import document


def write(folder: Path, **files: object) -> None:
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / f"{name}.json").write_text(text)


def naming(name: str, **parts: str) -> object:
    """Return a policy that names files: its trusted root, a key, and a revocation list."""
    signer = {"keys": [{"ref": parts.get("key", "key.json")}]}
    trust = [{"name": "tekton", "signer": signer, "builderId": BUILDER, "maxLevel": 2}]
    wanted = {
        "list": parts.get("list", "list.json"),
        "keys": [{"pem": public("lists").pem.decode()}],
    }
    return document(name, trust=trust, trustedRoot=parts.get("root", "root.json"), revocations=wanted)


def names(folder: Path) -> list[str]:
    return sorted(policy.name for policy in load_policies(folder))


def test_files_that_a_policy_names_are_no_policies(tmp_path: Path) -> None:
    write(
        tmp_path, a=naming("a"), b=document("b"), key={"keys": []}, root={"tlogs": []}, list="not even JSON"
    )
    assert names(tmp_path) == ["a", "b"]


def test_a_file_that_no_policy_names_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, a=document("a"), root={"tlogs": []})
    with pytest.raises(PolicyError, match=r"root\.json"):
        load_policies(tmp_path)
    write(tmp_path, root="- [")
    with pytest.raises(InputError, match=r"root\.json"):
        load_policies(tmp_path)


def test_a_policy_stays_one_whatever_names_its_file(tmp_path: Path) -> None:
    write(tmp_path, a=naming("a", list="b.json"), b=document("b"), key={}, root={})
    assert names(tmp_path) == ["a", "b"]
    write(tmp_path, b={"kind": "Policy"})
    with pytest.raises(PolicyError, match=r"b\.json"):
        load_policies(tmp_path)


def test_a_single_file_is_a_policy_also_if_it_names_itself(tmp_path: Path) -> None:
    write(tmp_path, a=naming("a", key="a.json", root="a.json", list="a.json"))
    assert names(tmp_path / "a.json") == ["a"]
