"""Revocation lists at the door: a changed list is in force at the next look, and one that is away is no pass."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from chains.admission.policies import PoliciesInForce, PolicySet
from chains.cli.main import run as chains
from chains.policy.answer import answer
from chains.policy.document.patterns import read_image
from chains.policy.document.policy import Policy
from chains.policy.opened import OpenedPolicy, open_policy
from chains.verify.verdict import Verdict
from tests.faults.verify.forge import DIGEST, NOW, Shelf, form_b, public
from tests.unit.chains.policy.made import REF, document, tekton
from tests.unit.chains.revocation.made import SIGNER, read, signed

Json = Any
OTHER = {"builder": "https://other.example.com"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of policies beside a list that one of them names."""
    (tmp_path / "lists.pub").write_bytes(public(SIGNER).pem)
    (tmp_path / "list.json").write_bytes(signed(OTHER))
    found = tmp_path / "policies"
    found.mkdir()
    written = document(revocations={"list": "../list.json", "keys": [{"ref": "../lists.pub"}]})
    (found / "policy.json").write_text(json.dumps(written))
    return found


def opener(state: Path) -> Any:
    return partial(open_policy, state=state)


def verdict(policies: PoliciesInForce) -> Verdict:
    asyncio.run(policies.look())
    assert policies.current is not None
    asked = answer(policies.current.policies, read_image(REF), stores=[Shelf(form_b(tekton()))], now=NOW)
    found = asyncio.run(asked)
    assert found is not None
    return found.strictest.verdict


def digest(policies: PoliciesInForce) -> str:
    assert policies.current is not None
    return policies.current.digest


def test_a_changed_list_is_in_force_at_the_next_look_and_changes_the_key_of_the_cache(
    folder: Path, tmp_path: Path
) -> None:
    policies = PoliciesInForce(folder, opener(tmp_path / "seen.json"))
    assert verdict(policies) is Verdict.VERIFIED
    before = digest(policies)
    (tmp_path / "list.json").write_bytes(signed({"image": DIGEST}, version=2))
    assert verdict(policies) is Verdict.FAILED
    assert digest(policies) != before


@pytest.mark.parametrize("how", ["removed", "a folder", "older", "forked", "by a stranger", "cut"])
def test_a_list_that_cannot_be_used_any_more_leaves_nothing_decided(
    folder: Path, tmp_path: Path, how: str
) -> None:
    path = tmp_path / "list.json"
    path.write_bytes(signed(OTHER, version=2))
    policies = PoliciesInForce(folder, opener(tmp_path / "seen.json"))
    assert verdict(policies) is Verdict.VERIFIED
    path.unlink()
    if how == "a folder":
        path.mkdir()
    elif how == "older":
        path.write_bytes(signed(OTHER, version=1))
    elif how == "forked":
        path.write_bytes(signed({"builder": "https://b"}, version=2))
    elif how == "by a stranger":
        path.write_bytes(signed(OTHER, version=3, by="stranger"))
    elif how == "cut":
        path.write_bytes(signed(OTHER, version=3)[:-20])
    assert verdict(policies) is Verdict.INDETERMINATE
    assert policies.refused == ""
    if how == "a folder":
        path.rmdir()
    path.write_bytes(signed(OTHER, version=4))
    assert verdict(policies) is Verdict.VERIFIED, "and the newest list mends it"


def test_a_list_counts_again_as_soon_as_its_state_file_can_be_kept(folder: Path, tmp_path: Path) -> None:
    state = tmp_path / "seen.json"
    state.mkdir()
    policies = PoliciesInForce(folder, opener(state))
    assert [verdict(policies) for _ in range(3)] == [Verdict.INDETERMINATE] * 3
    state.rmdir()
    assert verdict(policies) is Verdict.VERIFIED, "although no file that policies name has changed"


def test_a_list_of_the_options_is_read_again_when_it_changes(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.json"
    path.write_bytes(signed(OTHER, by="second"))

    def opened(policy: Policy) -> OpenedPolicy:
        newest = read(path, keys=("second",), state=tmp_path / "seen.json")
        return open_policy(policy, revocations=newest, state=tmp_path / "seen.json")

    policies = PoliciesInForce(folder, opened, lists=[path])
    assert verdict(policies) is Verdict.VERIFIED
    path.write_bytes(signed({"image": DIGEST}, version=2, by="second"))
    assert verdict(policies) is Verdict.FAILED
    path.unlink()
    assert verdict(policies) is Verdict.INDETERMINATE


def test_the_end_of_a_list_is_a_moment_at_which_answers_change(folder: Path, tmp_path: Path) -> None:
    end = NOW + timedelta(hours=1)
    (tmp_path / "list.json").write_bytes(signed(OTHER, expires=end.isoformat()))
    policies = PoliciesInForce(folder, opener(tmp_path / "seen.json"))
    assert verdict(policies) is Verdict.VERIFIED
    current = policies.current
    assert isinstance(current, PolicySet)
    assert current.next_change(NOW) == end


def test_half_of_the_options_is_wrong_usage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["admission", str(folder), "--no-cluster", "--revocations", "list.json"]
    assert chains(words) == 2
    assert "--revocations needs --revocations-key" in capsys.readouterr().err
