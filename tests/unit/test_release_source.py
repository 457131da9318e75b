"""What a release is made from: a version that every file repeats, dated changes, a clean commit with its tag."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from chains.cli.main import run as chains
from deploy.release.artifacts import build_twice
from deploy.release.errors import ReleaseError
from deploy.release.inventory import Component, Lock, spdx_expression
from deploy.release.source import export, manifests, prepare, read_source, section, stated

ROOT = Path(__file__).parents[2]
HOME = "https://git.example.com/team/chains"
CHANGES = "# Changes\n\n## Unreleased\n\n### Added\n\n- Something.\n\n## 0.1.0 - 2026-01-02\n\n- The first.\n"


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=Maintainer", "-c", "user.email=maintainer@example.com", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with what a release looks at, and one commit."""
    root = tmp_path / "tree"
    files = {
        "CHANGELOG.md": CHANGES,
        "chains/__init__.py": '__version__ = "0.1.0"\n',
        "chains/commit.txt": "$Format:%H$\n",
        ".gitattributes": "chains/commit.txt export-subst\n",
        "pyproject.toml": '[project]\nname = "provenance-chains"\ndynamic = ["version"]\n\n[project.scripts]\n',
        "deploy/helm/Chart.yaml": 'apiVersion: v2\nversion: 0.1.0\nappVersion: "0.1.0"\n',
        "deploy/base/pod.yaml": "image: registry.example.com/provenance-chains:0.1.0\n",
        "deploy/base/chains-info.yaml": "data:\n  version: v0.1.0\n",
        "deploy/base/other.yaml": "image: registry.example.com/other:0.1.0\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "init", "--quiet", "--initial-branch=main")
    commit(root, "begin")
    return root


def commit(root: Path, message: str, tag: str = "") -> str:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", message)
    if tag:
        git(root, "tag", tag)
    return git(root, "rev-parse", "HEAD")


def test_prepare_writes_the_version_into_every_file_that_states_it(tree: Path) -> None:
    changed = prepare(tree, "0.2.0", "2026-02-03", HOME)
    assert changed == [
        "CHANGELOG.md", "chains/__init__.py", "deploy/base/chains-info.yaml", "deploy/base/pod.yaml",
        "deploy/helm/Chart.yaml", "pyproject.toml",
    ]  # fmt: skip
    assert {version for _, version in stated(tree)} == {"0.2.0"}
    assert "registry.example.com/other:0.1.0" in (tree / "deploy/base/other.yaml").read_text()
    text = (tree / "CHANGELOG.md").read_text()
    assert "## Unreleased\n\n## 0.2.0 - 2026-02-03\n\n### Added\n" in text
    assert section(tree / "CHANGELOG.md", "0.2.0") == "### Added\n\n- Something."
    assert (
        f'[project.urls]\nHomepage = "{HOME}"\nSource = "{HOME}"\n' in (tree / "pyproject.toml").read_text()
    )
    # a second home takes the place of the first
    (tree / "CHANGELOG.md").write_text(CHANGES)
    prepare(tree, "0.3.0", "2026-02-03", HOME + "2")
    assert (tree / "pyproject.toml").read_text().count("[project.urls]") == 1
    commit(tree, "release", "v0.3.0")
    assert read_source(tree, "0.3.0").uri == f"git+{HOME}2"


def test_the_source_is_the_tagged_commit_and_its_export_says_so(tree: Path) -> None:
    prepare(tree, "0.2.0", "2026-02-03", HOME)
    made = commit(tree, "release", "v0.2.0")
    source = read_source(tree, "0.2.0")
    assert (source.commit, source.ref, source.uri) == (made, "refs/tags/v0.2.0", f"git+{HOME}")
    into = export(tree, source, tree.parent / "export")
    assert (into / "chains/commit.txt").read_text() == f"{made}\n"
    assert not (into / ".git").exists()


@pytest.mark.parametrize(
    ("version", "day", "told"),
    [
        ("0.1.0", "2026-02-03", "CHANGELOG.md has a section 0.1.0 already"),
        ("1.2", "2026-02-03", "version '1.2': expected X.Y.Z"),
        ("01.2.3", "2026-02-03", "version '01.2.3': expected X.Y.Z"),
    ],
)
def test_prepare_refuses_what_is_no_next_version(tree: Path, version: str, day: str, told: str) -> None:
    with pytest.raises(ReleaseError, match=told):
        prepare(tree, version, day)


def test_prepare_refuses_a_release_of_nothing(tree: Path) -> None:
    (tree / "CHANGELOG.md").write_text(CHANGES.replace("- Something.", ""))
    with pytest.raises(ReleaseError, match="no changes under Unreleased"):
        prepare(tree, "0.2.0", "2026-02-03")


def test_a_release_needs_a_clean_commit_with_its_tag(tree: Path) -> None:
    prepare(tree, "0.2.0", "2026-02-03", HOME)
    with pytest.raises(ReleaseError, match=r"changes that no commit has"):
        read_source(tree, "0.2.0")
    commit(tree, "release")
    with pytest.raises(ReleaseError, match=r"has no tag, expected v0\.2\.0"):
        read_source(tree, "0.2.0")
    git(tree, "tag", "v0.2.1")
    with pytest.raises(ReleaseError, match=r"has v0\.2\.1, expected v0\.2\.0"):
        read_source(tree, "0.2.0")
    git(tree, "tag", "v0.2.0")
    assert read_source(tree, "0.2.0").tag == "v0.2.0"


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        ("chains/__init__.py", "0.2.0", "0.1.9", "chains/__init__.py says 0.1.9"),
        ("deploy/base/pod.yaml", "0.2.0", "0.1.9", "deploy/base/pod.yaml says 0.1.9"),
        ("deploy/helm/Chart.yaml", '"0.2.0"', '"0.1.9"', "deploy/helm/Chart.yaml says 0.1.9"),
        ("deploy/base/chains-info.yaml", "0.2.0", "0.1.9", "deploy/base/chains-info.yaml says 0.1.9"),
        ("CHANGELOG.md", "0.2.0 - 2026", "0.2.0 - soon", "no dated section 0.2.0"),
        ("pyproject.toml", f'Source = "{HOME}"', "", "no URL Source in"),
        ("pyproject.toml", f'Source = "{HOME}"', 'Source = "git@example.com:x"', "is no https:// URL"),
    ],
)
def test_a_file_that_disagrees_keeps_a_release_from_being_made(
    tree: Path, name: str, old: str, new: str, told: str
) -> None:
    prepare(tree, "0.2.0", "2026-02-03", HOME)
    text = (tree / name).read_text()
    assert old in text
    (tree / name).write_text(text.replace(old, new))
    commit(tree, "release", "v0.2.0")
    with pytest.raises(ReleaseError, match=told):
        read_source(tree, "0.2.0")


def test_a_build_that_differs_the_second_time_is_refused(tree: Path, tmp_path: Path) -> None:
    prepare(tree, "0.2.0", "2026-02-03", HOME)
    commit(tree, "release", "v0.2.0")
    source = read_source(tree, "0.2.0")

    def with_its_path(folder: Path, into: Path) -> list[Path]:
        made = into / "made.txt"
        made.write_text(str(folder))
        return [made]

    with pytest.raises(ReleaseError, match=r"made\.txt: built twice, .* not reproducible"):
        build_twice(with_its_path, tree, source, tmp_path)
    assert not (tmp_path / "made.txt").exists()


def test_every_file_of_this_project_states_the_same_version() -> None:
    found = dict(stated(ROOT))
    assert len(set(found.values())) == 1, found
    assert {"chains/__init__.py", "deploy/base/chains-info.yaml", "deploy/base/stateful-set.yaml"} <= set(
        found
    )
    assert set(manifests(ROOT)) >= {ROOT / "deploy/admission/deployment.yaml"}


def test_the_version_is_told_with_what_is_installed(capsys: pytest.CaptureFixture[str]) -> None:
    (version,) = {found for _, found in stated(ROOT)}
    assert chains(["version", "--output", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["version"] == version
    assert told["commit"] is None, "a checkout may have changes"
    assert told["tektonApiVersions"] == ["tekton.dev/v1"]
    assert told["extras"]["aws"]["installed"]
    assert told["extras"]["aws"]["packages"]["boto3"]
    assert chains(["version"]) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"chains {version}\ncommit: unknown")
    assert "\n  aws: boto3 " in text


@pytest.fixture(scope="module")
def components() -> dict[str, Component]:
    return {one.name: one for one in Lock(ROOT / "uv.lock").runtime()}


class TestLock:
    """The packages of the lock file, as bills of materials list them."""

    def test_every_installation_has_what_the_project_needs_itself(
        self, components: dict[str, Component]
    ) -> None:
        click, boto3 = components["click"], components["boto3"]
        assert (click.is_required, click.extras) == (True, ())
        assert (boto3.is_required, boto3.extras) == (False, ("aws",))
        assert click.purl == f"pkg:pypi/click@{click.version}"
        assert click.licence == "BSD-3-Clause"
        assert all(len(file.sha256) == 64 for file in click.files)

    def test_what_a_package_needs_is_there_with_the_extras_that_bring_it(
        self, components: dict[str, Component]
    ) -> None:
        assert components["botocore"].purl in components["boto3"].depends
        assert components["botocore"].extras == ("aws",)
        assert components["psycopg-binary"].extras == ("postgres",)
        assert components["sqlalchemy"].extras == ("index", "postgres", "web")
        # a platform or a version of Python decides
        assert not components["typing-extensions"].is_required

    def test_packages_of_developers_are_not_there(self, components: dict[str, Component]) -> None:
        assert components.keys().isdisjoint({"pytest", "ruff", "mypy", "cyclonedx-python-lib", "hypothesis"})
        assert len(components) > 80

    @pytest.mark.parametrize(
        ("text", "expression"),
        [
            ("MIT", "MIT"),
            ("apache-2.0 or mit", "Apache-2.0 OR MIT"),
            ("Apache License, Version 2.0", "Apache-2.0"),
            ("BSD", ""),
            ("Copyright (c) somebody\nAll rights reserved.", ""),
            ("", ""),
        ],
    )
    def test_a_licence_is_an_expression_of_spdx_or_nothing(self, text: str, expression: str) -> None:
        assert spdx_expression(text) == expression


def test_the_wheel_has_the_version_and_the_file_for_the_commit(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.iterdir()
    (version,) = {found for _, found in stated(ROOT)}
    assert wheel.name == f"provenance_chains-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as opened:
        assert opened.read("chains/commit.txt").strip() == b"$Format:%H$"
        assert not [name for name in opened.namelist() if name.startswith(("deploy/", "tests/"))]
