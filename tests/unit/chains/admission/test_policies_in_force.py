"""Policies are read again when their files change, as a whole or not at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from chains.admission import policies as module
from chains.admission.policies import PoliciesInForce, PolicySet, strictest_mode
from chains.policy.document.format import Mode
from chains.policy.document.policy import Namespace
from chains.policy.opened import open_policy
from tests.faults.verify.forge import BUILDER, IMAGE, public
from tests.unit.chains.policy.made import document, opened

Json = Any


def names(found: PoliciesInForce) -> list[str]:
    return [one.policy.name for one in found.current.policies] if found.current else []


def look(found: PoliciesInForce) -> None:
    asyncio.run(found.look())


def write(folder: Path, *policies: Json) -> None:
    for old in folder.glob("*.json"):
        old.unlink()
    for at, policy in enumerate(policies):
        (folder / f"{at}.json").write_text(json.dumps(policy))


def test_a_changed_folder_is_in_force_at_the_next_look(tmp_path: Path) -> None:
    found = PoliciesInForce(tmp_path, open_policy)
    assert found.trouble == "no policies were read yet"
    write(tmp_path, document("a"))
    look(found)
    assert (names(found), found.trouble) == (["a"], "")
    write(tmp_path, document("a", mode="warn"), document("b"))
    look(found)
    assert names(found) == ["a", "b"]
    assert found.current is not None
    assert strictest_mode(found.current.policies[:1]) is Mode.WARN


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "new.json").write_text("{"),
        lambda folder: (folder / "new.json").write_text(json.dumps(document("a"))),
        lambda folder: (folder / "new.json").write_text(json.dumps(document("x", rules=[{"name": "r", "cel": "1 +", "message": "m"}]))),
        write,
        lambda folder: (folder / "0.json").unlink(),
    ],
)  # fmt: skip
def test_the_last_good_policies_stay_while_the_newest_cannot_be_used(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    write(tmp_path, document("a"))
    found = PoliciesInForce(tmp_path, open_policy)
    look(found)
    good = found.current
    spoil(tmp_path)
    look(found)
    assert found.current is good
    assert found.refused
    assert found.trouble == ""
    for file in tmp_path.glob("new.*"):
        file.unlink()
    write(tmp_path, document("a"))
    look(found)
    assert (found.current, found.refused) == (good, "")


def test_a_swapped_link_as_a_configmap_is_mounted_is_seen(tmp_path: Path) -> None:
    for version, name in (("1", "a"), ("2", "b")):
        (tmp_path / f"..{version}").mkdir()
        (tmp_path / f"..{version}" / "policy.json").write_text(json.dumps(document(name)))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "policy.json").symlink_to("..data/policy.json")
    found = PoliciesInForce(tmp_path, open_policy)
    look(found)
    assert names(found) == ["a"]
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    look(found)
    assert names(found) == ["b"]


def test_another_key_in_a_file_that_a_policy_names_is_another_set(tmp_path: Path) -> None:
    folder = tmp_path / "policies"
    folder.mkdir()
    (tmp_path / "key.pub").write_bytes(public("ours").pem)
    entry = {
        "name": "tekton",
        "signer": {"keys": [{"ref": "../key.pub"}]},
        "builderId": BUILDER,
        "maxLevel": 2,
    }
    write(folder, document("a", trust=[entry]))
    found = PoliciesInForce(folder, open_policy)
    look(found)
    look(found)
    assert found.current is not None
    before = found.current.digest
    (tmp_path / "key.pub").write_bytes(public("other").pem)
    look(found)
    assert found.current.digest != before
    assert [key.keyid for key in found.current.policies[0].trust[0].criteria.keys] == [public("other").keyid]


def test_unchanged_files_are_opened_again_after_a_while_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, document("a"))
    times = [0]

    def opener(policy: Json) -> Json:
        times[0] += 1
        return open_policy(policy)

    found = PoliciesInForce(tmp_path, opener)
    for _ in range(5):
        look(found)
    assert times[0] == 2, "once, and once more because the files may have changed while they were read"
    monkeypatch.setattr(module, "OPEN_AGAIN", 0.0)
    found._open_again = 0.0
    look(found)
    look(found)
    assert times[0] == 4


def test_the_digest_does_not_depend_on_the_order(tmp_path: Path) -> None:
    a, b = opened(document("a"), document("b"))
    assert PolicySet.of([a, b]) == PolicySet.of([b, a])
    assert PolicySet.of([a]).digest != PolicySet.of([b]).digest


def test_the_next_change_is_the_end_of_an_exemption_or_of_a_key() -> None:
    exemption = {
        "image": IMAGE,
        "rules": ["level"],
        "until": "2026-06-01T00:00:00Z",
        "reason": "r",
        "reference": "R",
    }
    (one,) = opened(document(exemptions=[exemption]))
    found = PolicySet.of([one])
    assert found.next_change(datetime(2026, 5, 1, tzinfo=UTC)) == datetime(2026, 6, 1, tzinfo=UTC)
    assert found.next_change(datetime(2026, 6, 1, tzinfo=UTC)) is None


def test_only_policies_that_choose_by_labels_need_them() -> None:
    named = document(match={"images": [IMAGE], "namespaces": {"names": ["a"]}})
    labelled = document("b", match={"images": [IMAGE], "namespaces": {"matchLabels": {"a": "b"}}})
    assert not PolicySet.of(opened(named)).needs_labels
    assert PolicySet.of(opened(named, labelled)).needs_labels
    assert PolicySet.of(opened(labelled)).fitting(Namespace("x", {"a": "c"})) == []
    assert len(PolicySet.of(opened(labelled)).fitting(Namespace("x", None))) == 1
