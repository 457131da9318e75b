"""``blast-radius`` on a registry: what its tags lead to, and what a registry does not list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chains.cli.main import run as chains
from tests.testbed.images import Registry
from tests.unit.chains.lineage.made import COMMIT, attest, run_of

pytestmark = pytest.mark.server


def test_evidence_in_a_registry_is_found_by_tags_and_what_no_tag_leads_to_is_told(
    referrers_registry: Registry,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in referrers_registry.client_env(tmp_path / "docker").items():
        monkeypatch.setenv(name, value)
    host = referrers_registry.host
    assert chains(["keys", "generate", "signing.key"]) == 0

    def pushed(repository: str, content: str, tag: str = "") -> str:
        found = referrers_registry.push_image(repository, content=content.encode(), tag=tag)
        return f"{host}/{repository}@{found}"

    # tags of evidence; a tag of the image; an index with a tag whose image has bundles alone; no tag at all
    base = pushed("blast/base", "base")
    tagged = pushed("blast/app", "tagged", "1")
    listed = pushed("blast/app", "listed")
    referrers_registry.push_index("blast/app", [listed.partition("@")[2]], tag="2")
    unseen = pushed("blast/app", "unseen")
    attest(tmp_path, "oci:", run_of("base", base, git=("https://git.example.com/base.git", COMMIT)))
    others = [
        run_of(name, image, made_from=[base]) for name, image in (("a", tagged), ("b", listed), ("c", unseen))
    ]
    attest(tmp_path, "oci:", *others, encoding="sigstore-bundle")
    stores = [word for name in ("base", "app") for word in ("--store", f"oci://{host}/blast/{name}")]
    arguments = [
        "blast-radius",
        "--commit",
        COMMIT,
        "--trusted-key",
        "signing.pub",
        "--output",
        "json",
        *stores,
    ]
    capsys.readouterr()

    def answer(code: int) -> tuple[dict[str, int], list[str]]:
        assert chains(arguments) == code
        found = json.loads(capsys.readouterr().out)
        assert {one["state"] for one in found["artifacts"]} == {"verified"}
        return {f"{one['names'][0]}@{one['digest']}": one["distance"] for one in found["artifacts"]}, found[
            "notes"
        ]

    artifacts, notes = answer(1)
    assert artifacts == {base: 0, tagged: 1, listed: 1}
    assert notes == [
        f"oci://{host}/blast/{name} a registry lists only tags, so bundles about an image are not seen if neither "
        "the image nor other evidence about it has a tag"
        for name in ("base", "app")
    ]
    assert pushed("blast/app", "unseen", "3") == unseen
    assert answer(1)[0] == {base: 0, tagged: 1, listed: 1, unseen: 1}
    arguments += ["--store", f"oci://{host}/blast/nothing"]
    assert answer(4)[0].keys() == {base, tagged, listed, unseen}, (
        "a repository that is not there was not read"
    )
