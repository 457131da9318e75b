"""A whole release of this tree, made by the commands of its page, and what verification says to a forged one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

from deploy.release.cyclonedx_bill import check_cyclonedx
from deploy.release.errors import ReleaseError
from deploy.release.folder import TEMPLATE, write_sums
from deploy.release.verify import verify

ROOT = Path(__file__).parents[2]
TAKEN = (
    "chains", "signers", "storage", "deploy", "pyproject.toml", "uv.lock", "README.md", "LICENSE",
    "CHANGELOG.md", ".gitattributes", ".gitignore",
)  # fmt: skip
ARTIFACTS = {
    "wheel", "sdist", "chart-chains-admission", "chart-chains-web", "chart-provenance-chains",
    "manifest-chains-config", "manifest-release", "manifest-uninstall",
}  # fmt: skip
PACKED = "provenance_chains-0.2.0-py3-none-any.whl"


def blocks() -> list[str]:
    """The shell blocks of the page, with the tools of this environment, and tags that no person signs."""
    text = (ROOT / "docs/release.md").read_text()
    found = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [
        block.replace("python3 dev.py release", f"'{sys.executable}' -m deploy.release").replace(
            "git tag -s", "git tag -a"
        )
        for block in found
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder with the tree, the key and the release, and what the commands printed."""
    home = tmp_path_factory.mktemp("release")
    tree = home / "tree"
    tree.mkdir()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *TAKEN],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
    who = {
        f"GIT_{role}_{what}": value
        for role in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "Maintainer"), ("EMAIL", "maintainer@example.com"))
    }
    begin = "git init --quiet --initial-branch=main\ngit add --all\ngit commit --quiet --message begin\n"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", begin + "\n".join(blocks())],
        cwd=tree,
        env={
            **os.environ, **who, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "COSIGN_PASSWORD": "", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        text=True, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return home, done.stdout


@pytest.fixture
def release(made: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the release that a test may change."""
    return Path(shutil.copytree(made[0] / "release-0.2.0", tmp_path / "release"))


def refused(folder: Path, made: tuple[Path, str], **wanted: str) -> str:
    with pytest.raises(ReleaseError) as raised:
        verify(folder, made[0] / "release.pub", TEMPLATE, **wanted)
    return str(raised.value)


def test_the_commands_of_the_page_make_a_release_and_verify_it(made: tuple[Path, str]) -> None:
    home, printed = made
    told = re.findall(r"^VERIFIED (\S+) sha256:[0-9a-f]{64}$", printed, re.MULTILINE)
    assert sorted(told) == sorted([*ARTIFACTS, *ARTIFACTS]), "once by build, once by verify"
    folder = home / "release-0.2.0"
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=folder, check=True)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=home / "tree", check=True, capture_output=True, text=True
    ).stdout.strip()
    described = json.loads((folder / "release.json").read_text())
    assert (described["commit"], described["version"]) == (commit, "0.2.0")
    with tarfile.open(folder / "provenance-chains-0.2.0.tgz") as packed:
        names = packed.getnames()
        chart = packed.extractfile("provenance-chains/Chart.yaml")
        assert chart is not None
        assert yaml.safe_load(chart.read())["version"] == "0.2.0"
    assert "provenance-chains/values.schema.json" in names
    image = "registry.example.com/team/provenance-chains@sha256:2f2c0bbd"
    assert (folder / "release.yaml").read_text().count(image) == 1


def test_every_artifact_has_bills_of_both_forms_and_the_manifest_s_name_the_image(release: Path) -> None:
    assert {path.name for path in (release / "sbom").iterdir()} == {
        f"{name}.{form}.json" for name in ARTIFACTS for form in ("cdx", "spdx")
    }
    for path in (release / "sbom").glob("*.cdx.json"):
        check_cyclonedx(path.read_text())
    wheel = json.loads((release / "sbom/wheel.cdx.json").read_text())
    found = {one["name"]: one for one in wheel["components"]}
    assert found["click"]["scope"] == "required"
    assert found["boto3"]["scope"] == "optional"
    assert wheel["metadata"]["component"]["hashes"][0]["content"] in (release / "SHA256SUMS").read_text()
    spdx = json.loads((release / "sbom/wheel.spdx.json").read_text())
    assert {one["name"] for one in spdx["packages"]} >= {"click", "boto3", "provenance-chains"}
    (image,) = json.loads((release / "sbom/manifest-release.cdx.json").read_text())["components"]
    assert image["purl"].startswith("pkg:oci/provenance-chains@sha256%3A2f2c0bbd") or image[
        "purl"
    ].startswith("pkg:oci/provenance-chains@sha256:2f2c0bbd")


def test_a_changed_byte_is_refused(release: Path, made: tuple[Path, str]) -> None:
    data = bytearray((release / PACKED).read_bytes())
    data[-1] ^= 1
    (release / PACKED).write_bytes(data)
    assert f"{PACKED}: release.json has sha256:" in refused(release, made)


def test_a_list_that_has_the_digest_of_the_changed_file_is_refused(
    release: Path, made: tuple[Path, str]
) -> None:
    import hashlib

    (release / PACKED).write_bytes(b"another wheel")
    listed = json.loads((release / "release.json").read_text())
    next(one for one in listed["artifacts"] if one["kind"] == "wheel")["digest"] = (
        f"sha256:{hashlib.sha256(b'another wheel').hexdigest()}"
    )
    (release / "release.json").write_text(json.dumps(listed))
    write_sums(release)
    told = refused(release, made)
    assert told.startswith("wheel sha256:")
    assert "NOT_FOUND" in told


def test_a_missing_bill_is_refused(release: Path, made: tuple[Path, str]) -> None:
    (release / "sbom/wheel.spdx.json").unlink()
    write_sums(release)
    assert refused(release, made).startswith("wheel.spdx.json: ")


def test_a_bill_that_was_not_signed_is_refused(release: Path, made: tuple[Path, str]) -> None:
    path = release / "sbom/wheel.cdx.json"
    bill = json.loads(path.read_text())
    bill["components"] = bill["components"][1:]
    path.write_text(json.dumps(bill))
    write_sums(release)
    assert refused(release, made) == "sbom/wheel.cdx.json is not the bill of materials that was signed"


def test_a_missing_bundle_is_refused(release: Path, made: tuple[Path, str]) -> None:
    (release / "attestations/sdist.cyclonedx.sigstore.json").unlink()
    assert "attestations/sdist.cyclonedx.sigstore.json: No such file" in refused(release, made)


def test_a_bundle_of_another_artifact_is_refused(release: Path, made: tuple[Path, str]) -> None:
    folder = release / "attestations"
    shutil.copyfile(folder / "sdist.spdx.sigstore.json", folder / "wheel.spdx.sigstore.json")
    assert "attestations/wheel.spdx.sigstore.json: " in refused(release, made)


def test_another_key_is_refused_even_if_the_folder_has_it(
    release: Path, made: tuple[Path, str], tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "chains", "keys", "generate", str(tmp_path / "stranger.key")]
    subprocess.run(command, check=True, env={**os.environ, "COSIGN_PASSWORD": ""}, capture_output=True)
    with pytest.raises(ReleaseError, match=r"wheel sha256:.*key_unknown"):
        verify(release, tmp_path / "stranger.pub", TEMPLATE)
    shutil.copyfile(tmp_path / "stranger.pub", release / "release.pub")
    assert refused(release, made).startswith("release.pub: SHA256SUMS has ")


def test_another_commit_and_another_version_are_refused(release: Path, made: tuple[Path, str]) -> None:
    assert f", expected {'0' * 40}" in refused(release, made, commit="0" * 40)
    assert "release.json names the version 0.2.0, expected 0.3.0" in refused(release, made, version="0.3.0")
    listed = json.loads((release / "release.json").read_text())
    listed["commit"] = "0" * 40
    (release / "release.json").write_text(json.dumps(listed))
    write_sums(release)
    told = refused(release, made, commit="0" * 40)
    assert told.startswith("wheel sha256:")
    assert "commit" in told


def test_a_release_without_charts_is_none(release: Path, made: tuple[Path, str]) -> None:
    listed = json.loads((release / "release.json").read_text())
    listed["artifacts"] = [one for one in listed["artifacts"] if one["kind"] != "chart"]
    (release / "release.json").write_text(json.dumps(listed))
    assert refused(release, made) == "release.json names no chart"


def test_a_policy_that_allows_more_is_refused(release: Path, made: tuple[Path, str]) -> None:
    text = (release / "policy.yaml").read_text()
    (release / "policy.yaml").write_text(text.replace("- https://spdx.dev/Document\n", ""))
    write_sums(release)
    assert refused(release, made) == "policy.yaml in the folder is not the policy of this release"


def test_a_file_that_no_checksum_covers_is_refused(release: Path, made: tuple[Path, str]) -> None:
    (release / "extra.whl").write_bytes(b"not ours")
    assert refused(release, made).startswith("extra.whl: SHA256SUMS has no such file")
