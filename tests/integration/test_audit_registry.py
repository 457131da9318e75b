"""Audits of whole registries: each image that a tag names, and whether a known run made it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.audit_truth import task_run, uid_of
from tests.testbed import servers
from tests.testbed.images import MANIFEST, Registry

Json = Any
pytestmark = pytest.mark.server


@pytest.fixture(scope="module", params=["registry", "distribution"])
def registry(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that has nothing but the images of this file."""
    start: Callable[..., Any] = getattr(servers, request.param)
    with start(tmp_path_factory.mktemp("registry")) as found:
        yield found


def made_by(number: int, repository: str, digest: str) -> Json:
    run = task_run(number)
    values = (("IMAGE_URL", repository), ("IMAGE_DIGEST", digest))
    run["status"]["results"] = [{"name": name, "type": "string", "value": value} for name, value in values]
    return run


def audit(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> Json:
    capsys.readouterr()
    where = ("--store", "oci-layout:.chains/layout", "--key", ".chains/signing.pub")
    assert chains(["audit", "--runs", "known.json", *where, *words, "--output", "json"]) == code
    return json.loads(capsys.readouterr().out)


def test_each_image_of_a_registry_has_a_known_run_or_is_named_with_the_reason(
    registry: Registry,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    app, base = f"{registry.host}/shop/app", f"{registry.host}/base/os"
    known = registry.push_image("shop/app", tag="1", content=b"known")
    nobody = registry.push_image("shop/app", tag="2", content=b"nobody")
    registry.push_image("shop/app", content=b"without a tag")
    registry.push_manifest("shop/app", registry.manifest("shop/app", nobody), MANIFEST, "latest")
    platforms = [registry.push_image("shop/app", content=b"p", platform=name) for name in ("amd64", "arm64")]
    registry.push_index("shop/app", platforms, tag="both")
    half = registry.push_index("shop/app", [platforms[0], nobody], tag="half")
    stranger = registry.push_image("base/os", tag="1")
    # the tag of evidence is no image
    registry.push_image("shop/app", tag=f"sha256-{known.removeprefix('sha256:')}.att", content=b"evidence")
    runs = [made_by(number, app, digest) for number, digest in enumerate((known, *platforms))]
    Path("known.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": runs}))
    Path("unknown.json").write_text(json.dumps(made_by(3, base, stranger)))
    assert chains(["attest", "known.json", "unknown.json"]) == 0

    found = audit(capsys, 1, "--repository", registry.host)
    assert {one["image"]: (one["reason"], one["where"]) for one in found["imagesWithoutRun"]} == {
        f"{app}@{nobody}": ("no_evidence", [f"{app}:2", f"{app}:latest"]),
        f"{app}@{half}": ("no_evidence", [f"{app}:half"]),
        f"{base}@{stranger}": ("run_unknown", [f"{base}:1"]),
    }
    words = {one["image"]: one["words"] for one in found["imagesWithoutRun"]}
    assert words[f"{app}@{half}"].endswith("of the images of its 2 platforms 1 have a known run")
    assert uid_of(3) in words[f"{base}@{stranger}"]
    assert (found["imagesAsked"], found["imagesUnlisted"], found["problems"]) == (5, 0, [])
    assert any("images without a tag were not asked about" in note for note in found["notes"])

    # what cannot be listed leaves the answer open, and is named
    found = audit(capsys, 1, "--repository", f"oci://{app}", "--repository", f"{registry.host}/shop/none")
    assert (found["imagesAsked"], found["imagesUnlisted"]) == (4, 1)
    (problem,) = found["problems"]
    assert f"{registry.host}/shop/none" in problem
    found = audit(capsys, 4, "--repository", f"{registry.host}/shop/none")
    assert (found["imagesAsked"], found["imagesUnlisted"]) == (0, 1)
    assert chains(["audit", "--repository", f"{app}:1"]) == 2


def test_a_registry_that_lists_no_repositories_is_named_and_leaves_the_answer_open(
    secured_registry: Registry,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(secured_registry.ca_file))
    Path("known.json").write_text(json.dumps(made_by(0, "registry.example/app", f"sha256:{'ab' * 32}")))
    assert chains(["attest", "known.json"]) == 0
    found = audit(capsys, 4, "--repository", secured_registry.host)
    (problem,) = found["problems"]
    assert problem.startswith(f"{secured_registry.host}: cannot list the repositories in ")
    assert "name its repositories one by one" in problem
    assert found["imagesUnlisted"] == 1
