"""The source of a release: a clean commit with a tag, and a version that every file repeats."""

from __future__ import annotations

import re
import tarfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from deploy.release.commands import run
from deploy.release.errors import ReleaseError

VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)((?:a|b|rc)(?:0|[1-9]\d*))?", re.ASCII)
"""``1.2.3``, or a pre-release as Python spells it (PEP 440): ``1.2.3rc1``."""
CONSTANT = re.compile(r'^__version__ = "(?P<version>[^"]*)"$', re.MULTILINE)
IMAGE = re.compile(r"\bregistry\.example\.com/provenance-chains:(?P<version>[\w.-]+)", re.ASCII)
_INFO = re.compile(r"^  version: v(?P<version>\S+)$", re.MULTILINE)
_CHART = re.compile(r'^(?:version|appVersion): *"?(?P<version>[^"\s]+)"?$', re.MULTILINE)
_SECTION = re.compile(r"^## (?P<title>.+)$", re.MULTILINE)
UNRELEASED = "Unreleased"


@dataclass(frozen=True, slots=True)
class Source:
    """The commit that a release is built from."""

    version: str
    commit: str
    """The commit in hex, SHA-1."""
    tag: str
    uri: str
    """The repository as ``git+https://HOST/PATH``."""
    epoch: int
    """The time of the commit, in seconds: every file of a release has this time."""

    @property
    def ref(self) -> str:
        """The git reference of the tag."""
        return f"refs/tags/{self.tag}"

    @property
    def moment(self) -> datetime:
        """The time of the commit."""
        return datetime.fromtimestamp(self.epoch, UTC)


def read_source(root: Path, version: str, repository: str = "") -> Source:
    """Return the source of a release.

    ``repository`` replaces the URL ``Source`` of ``[project.urls]``. Raises :class:`ReleaseError` unless the
    tree is clean, its commit has the tag ``vVERSION``, and every file that states the version states this
    one.
    """
    check_version(version)
    changed = run(["git", "status", "--porcelain"], root)
    if changed:
        raise ReleaseError(
            f"the tree has changes that no commit has: {changed.split()[-1]}; commit them first"
        )
    tag = f"v{version}"
    commit = run(["git", "rev-parse", "HEAD"], root).strip()
    tags = run(["git", "tag", "--points-at", "HEAD"], root).split()
    if tag not in tags:
        found = ", ".join(tags) or "no tag"
        raise ReleaseError(f"commit {commit[:12]} has {found}, expected {tag}: git tag -s {tag}")
    wrong = [f"{place} says {found}" for place, found in stated(root) if found != version]
    if wrong:
        told = "; ".join(wrong)
        raise ReleaseError(f"version {version}: {told}; run the command prepare, commit and tag again")
    if section(root / "CHANGELOG.md", version) == "":
        raise ReleaseError(
            f"CHANGELOG.md has no dated section {version} with changes: run the command prepare"
        )
    epoch = int(run(["git", "show", "--no-patch", "--format=%ct", commit], root))
    return Source(version, commit, tag, repository_of(root, repository), epoch)


def check_version(version: str) -> None:
    """Raise :class:`ReleaseError` for what is no version."""
    if VERSION.fullmatch(version) is None:
        raise ReleaseError(f"version {version!r}: expected X.Y.Z, or X.Y.ZrcN for a pre-release")


def repository_of(root: Path, given: str = "") -> str:
    """Return ``git+https://HOST/PATH`` of the repository.

    Raises :class:`ReleaseError` if neither ``given`` nor ``[project.urls]`` names one.
    """
    urls = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
    found = given or urls.get("Source", "")
    if re.fullmatch(r"https://[^\s/@]+/[^\s@?#]+", found) is None:
        told = (
            f"{found!r} is no https:// URL" if found else "pyproject.toml has no URL Source in [project.urls]"
        )
        raise ReleaseError(f"{told}: provenance must name the repository; pass --source https://HOST/PATH")
    return f"git+{found.removesuffix('.git').rstrip('/')}"


def stated(root: Path) -> Iterator[tuple[str, str]]:
    """Give each place that states the version, with what it states."""
    found = CONSTANT.search((root / "chains/__init__.py").read_text(encoding="utf-8"))
    yield "chains/__init__.py", found["version"] if found else "nothing"
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    if "version" not in project.get("dynamic", ()):
        yield "pyproject.toml", str(project.get("version", "nothing"))
    for path in manifests(root):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root).as_posix()
        patterns = [IMAGE, *([_CHART] if path.name == "Chart.yaml" else ())]
        patterns += [_INFO] if path.name == "chains-info.yaml" else []
        for pattern in patterns:
            yield from ((name, match["version"]) for match in pattern.finditer(text))


def manifests(root: Path) -> list[Path]:
    """Return the files that name the image or the version."""
    found = [path for pattern in ("*.yaml", "Dockerfile") for path in (root / "deploy").rglob(pattern)]
    own = {"Chart.yaml", "chains-info.yaml"}
    return sorted(
        path for path in found if path.name in own or IMAGE.search(path.read_text(encoding="utf-8"))
    )


def section(changelog: Path, version: str) -> str:
    """Return the text of a version's dated section, empty if there is none."""
    text = changelog.read_text(encoding="utf-8")
    titles = list(_SECTION.finditer(text))
    for number, title in enumerate(titles):
        if re.fullmatch(rf"\[?{re.escape(version)}\]? - \d{{4}}-\d\d-\d\d", title["title"]):
            end = titles[number + 1].start() if number + 1 < len(titles) else len(text)
            return text[title.end() : end].strip()
    return ""


def prepare(root: Path, version: str, day: str, home: str = "") -> list[str]:
    """Write the version into every file that states it, and date the section of the changelog.

    ``home`` is the public address of the repository, for ``[project.urls]``. Returns the changed files.
    Raises :class:`ReleaseError` for a section that is there already, or without changes.
    """
    check_version(version)
    changed: list[str] = []

    def write(path: Path, text: str) -> None:
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path.relative_to(root).as_posix())

    write(root / "CHANGELOG.md", _dated((root / "CHANGELOG.md").read_text(encoding="utf-8"), version, day))
    constant = root / "chains/__init__.py"
    write(constant, CONSTANT.sub(f'__version__ = "{version}"', constant.read_text(encoding="utf-8")))
    for path in manifests(root):
        text = IMAGE.sub(
            f"registry.example.com/provenance-chains:{version}", path.read_text(encoding="utf-8")
        )
        if path.name == "chains-info.yaml":
            text = _INFO.sub(f"  version: v{version}", text)
        if path.name == "Chart.yaml":
            text = _CHART.sub(lambda match: match[0].replace(match["version"], version), text)
        write(path, text)
    if home:
        project = root / "pyproject.toml"
        write(project, _with_urls(project.read_text(encoding="utf-8"), home.rstrip("/")))
    return changed


def _dated(text: str, version: str, day: str) -> str:
    datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    if re.search(rf"^## \[?{re.escape(version)}\]?\b", text, re.MULTILINE):
        raise ReleaseError(f"CHANGELOG.md has a section {version} already: choose the next version")
    head, mark, rest = text.partition(f"## {UNRELEASED}\n")
    changes = re.split(r"^## ", rest, maxsplit=1, flags=re.MULTILINE)[0]
    if not mark or not re.search(r"^- ", changes, re.MULTILINE):
        raise ReleaseError(f"CHANGELOG.md has no changes under {UNRELEASED}: there is nothing to release")
    return f"{head}{mark}\n## {version} - {day}\n{rest}"


def _with_urls(text: str, home: str) -> str:
    if re.fullmatch(r"https://[^\s/@\"]+/[^\s@?#\"]+", home) is None:
        raise ReleaseError(f"--home {home!r}: expected https://HOST/PATH of the repository")
    urls = {"Homepage": home, "Source": home, "Documentation": f"{home}/tree/HEAD/docs",
            "Changelog": f"{home}/blob/HEAD/CHANGELOG.md", "Issues": f"{home}/issues"}  # fmt: skip
    table = "[project.urls]\n" + "".join(f'{name} = "{url}"\n' for name, url in urls.items()) + "\n"
    text = re.sub(r"^\[project\.urls\]\n(?:[^\[\n].*\n)*\n?", "", text, flags=re.MULTILINE)
    return text.replace("[project.scripts]\n", f"{table}[project.scripts]\n", 1)


def export(root: Path, source: Source, into: Path) -> Path:
    """Write the files of the commit into a folder that does not exist, as ``git archive`` gives them."""
    into.mkdir(parents=True)
    archive = into.with_name(f"{into.name}.tar")
    run(["git", "archive", "--format=tar", f"--output={archive}", source.commit], root)
    with tarfile.open(fileobj=BytesIO(archive.read_bytes())) as packed:
        packed.extractall(into, filter="data")
    archive.unlink()
    return into
