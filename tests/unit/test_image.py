"""The parts of deploy/image that decide what gets into the image, and what they refuse. The image itself:
tests/integration/test_image.py.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

SCRIPTS = Path(__file__).parents[2] / "deploy" / "image"
LOCK = SCRIPTS / "base.lock.json"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The modules of the script, which are no package: it is run by its path."""
    names = [path.stem for path in SCRIPTS.glob("*.py")]
    monkeypatch.syspath_prepend(str(SCRIPTS))
    assert not set(names) & set(sys.modules)
    try:
        yield {name: importlib.import_module(name) for name in names}
    finally:
        for name in names:
            sys.modules.pop(name, None)


def run(name: str, *options: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPTS / name, *options],
        check=False, capture_output=True, text=True, env={**os.environ, **variables},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("lower", "higher"),
    [
        ("1.0", "1.1"),
        ("1.9", "1.10"),
        ("1.0~rc1", "1.0"),
        ("1.0~~", "1.0~"),
        ("1.0", "1.0+b1"),
        ("2.0", "1:1.0"),
        ("1.0-1", "1.0-1+b1"),
        ("3.11.2-6+deb12u6", "3.11.2-6+deb12u10"),
        ("1.0a", "1.0+"),
        ("12.4+deb12u9", "12.4+deb12u15"),
    ],
)
def test_versions_are_compared_as_debian_does(
    scripts: dict[str, ModuleType], lower: str, higher: str
) -> None:
    compare = scripts["refresh_lock"].compare
    assert compare(lower, higher) < 0 < compare(higher, lower)
    assert compare(lower, lower) == 0


def test_the_lock_has_every_package_of_the_base_for_each_architecture_and_names_no_host(
    scripts: dict[str, ModuleType],
) -> None:
    lock, debian = scripts["lock"].read(LOCK), scripts["debian"]
    for architecture in debian.MULTIARCH:
        assert tuple(each.name for each in lock.of(architecture)) == tuple(sorted(debian.PACKAGES))
    assert lock.suite == debian.SUITE
    text = LOCK.read_text()
    assert "://" not in text
    assert not re.search(r"\.(org|com|net)\b", text)
    assert len(text.splitlines()) == len(lock.packages) + 2, "one package on a line"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"sha256": "ab"}, "sha256 of base-files cannot be used"),
        ({"path": "pool/../../etc/x.deb"}, "path of base-files cannot be used"),
        ({"archive": "https://elsewhere.example"}, "archive of base-files cannot be used"),
        ({"size": -1}, "size of base-files cannot be used"),
        ({"extra": 1}, "is not a lock of packages"),
    ],
)
def test_a_lock_that_is_not_whole_is_refused_and_nothing_is_written(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    data = json.loads(LOCK.read_bytes())
    data["packages"][0].update(change)
    wrong, out, cache = tmp_path / "lock.json", tmp_path / "out", tmp_path / "cache"
    wrong.write_text(json.dumps(data))
    done = run("build.py", "--out", out, "--lock", wrong, "--cache", cache, SOURCE_DATE_EPOCH="1")
    assert done.returncode == 1
    assert told in done.stderr
    assert "refresh_lock.py" in done.stderr
    assert not out.exists()
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--arch", "sparc"], "unknown architecture 'sparc': expected one of amd64, arm64"),
        (["--variant", "tiny"], "unknown variant 'tiny': expected one of slim, default, full"),
        (["--extra", "nothing"], "unknown extra 'nothing': expected one of aws, azure,"),
    ],
)
def test_what_is_unknown_is_refused_with_what_is_known(tmp_path: Path, options: list[str], told: str) -> None:
    done = run("build.py", "--out", tmp_path / "out", "--cache", tmp_path / "cache", *options)
    assert done.returncode == 2
    assert told in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_options_can_come_from_the_environment(tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    done = run(
        "build.py", "--out", tmp_path / "out", CHAINS_IMAGE_ARCH="sparc amd64", CHAINS_IMAGE_CACHE=cache
    )
    assert "unknown architecture 'sparc'" in done.stderr
    done = run("build.py", "--out", tmp_path / "out", CHAINS_IMAGE_VARIANT="tiny", CHAINS_IMAGE_CACHE=cache)
    assert "unknown variant 'tiny'" in done.stderr
    done = run(
        "build.py", "--root", tmp_path / "r", CHAINS_IMAGE_ARCH="amd64 arm64", CHAINS_IMAGE_CACHE=cache
    )
    assert "--root needs one architecture, got amd64, arm64" in done.stderr


def test_a_folder_that_no_build_has_written_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("only copy")
    done = run("build.py", "--out", tmp_path / "mine", "--cache", tmp_path / "cache", SOURCE_DATE_EPOCH="1")
    assert done.returncode == 1
    assert "mine exists: expected a folder that is an OCI image layout, or empty" in done.stderr
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "only copy"


class _Mirror(BaseHTTPRequestHandler):
    content: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.headers.get("Authorization", ""))
        data = self.content.get(self.path)
        self.send_response(404 if data is None else 200)
        self.send_header("Content-Length", str(len(data or b"")))
        self.end_headers()
        self.wfile.write(data or b"")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def mirror() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Mirror)
    _Mirror.content.clear()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def one_package(scripts: dict[str, ModuleType], data: bytes) -> Any:
    lock = scripts["lock"]
    digest = hashlib.sha256(data).hexdigest()
    package = lock.Package("libx", "1.0", "amd64", "debian", "pool/main/x/libx_1.0.deb", len(data), digest)
    return lock.Lock("bookworm", "20260101T000000Z", (package,))


def test_a_package_is_taken_from_the_first_mirror_that_has_it_and_then_from_the_cache(
    scripts: dict[str, ModuleType], mirror: str, tmp_path: Path
) -> None:
    lock = one_package(scripts, b"the package")
    _Mirror.content["/old/debian/20260101T000000Z/pool/main/x/libx_1.0.deb"] = b"the package"
    fetch = scripts["lock"].fetch
    found = fetch(lock, "amd64", [f"{mirror}/new", f"{mirror}/old/{{archive}}/{{time}}"], tmp_path)
    assert found["libx"].read_bytes() == b"the package"
    _Mirror.content.clear()
    assert fetch(lock, "amd64", [mirror], tmp_path) == found
    found["libx"].write_bytes(b"broken on the disk")
    with pytest.raises(scripts["errors"].NotFetchedError):
        fetch(lock, "amd64", [mirror], tmp_path)


def test_a_package_that_no_mirror_has_is_told_with_the_archive_that_keeps_all(
    scripts: dict[str, ModuleType], mirror: str, tmp_path: Path
) -> None:
    named = mirror.replace("//", "//somebody:secret@")
    with pytest.raises(scripts["errors"].NotFetchedError) as caught:
        scripts["lock"].fetch(one_package(scripts, b"x"), "amd64", [named], tmp_path)
    told = str(caught.value)
    assert "libx 1.0 for amd64 cannot be fetched" in told
    assert "HTTP Error 404" in told
    assert "--mirror 'https://snapshot.debian.org/archive/{archive}/{time}'" in told
    assert "secret" not in told
    assert _Mirror.asked[-1] == f"Basic {b64encode(b'somebody:secret').decode()}"


@pytest.mark.parametrize("served", [b"THE PACKAGE", b"the package and more", b"the pack", b""])
def test_a_package_with_another_content_is_refused_and_not_kept(
    scripts: dict[str, ModuleType], mirror: str, tmp_path: Path, served: bytes
) -> None:
    _Mirror.content["/debian/pool/main/x/libx_1.0.deb"] = served
    with pytest.raises(scripts["errors"].ImageError) as caught:
        scripts["lock"].fetch(one_package(scripts, b"the package"), "amd64", [mirror], tmp_path)
    expected = hashlib.sha256(b"the package").hexdigest()
    assert f"libx 1.0 for amd64: expected sha256:{expected}, got sha256:" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_architecture_that_the_lock_lacks_is_told(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    with pytest.raises(scripts["errors"].ImageError, match="the lock has no packages for arm64"):
        scripts["lock"].fetch(one_package(scripts, b"x"), "arm64", [], tmp_path)


def test_a_missing_package_is_told_by_its_name(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    names = dict.fromkeys(scripts["debian"].PACKAGES, tmp_path)
    del names["libssl3"]
    with pytest.raises(scripts["errors"].ImageError, match="the lock lacks libssl3 for amd64"):
        scripts["debian"].unpack(names, "amd64", tmp_path)


def deb(members: dict[str, bytes]) -> bytes:
    """A Debian package with these files."""

    def archive(files: dict[str, bytes]) -> bytes:
        output = io.BytesIO()
        with tarfile.open(fileobj=output, mode="w:xz") as tar:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size, member.mode = len(content), 0o4755
                tar.addfile(member, io.BytesIO(content))
        return output.getvalue()

    control = {
        "./control": b"Package: libx\nVersion: 1.0\n",
        "./md5sums": b"00  usr/bin/python3.11\n00  bin/sh\n",
    }
    parts = {"debian-binary": b"2.0\n", "control.tar.xz": archive(control), "data.tar.xz": archive(members)}
    output = b"!<arch>\n"
    for name, data in parts.items():
        output += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data
        output += b"\n" * (len(data) % 2)
    return output


def test_of_a_package_only_what_python_needs_is_kept_without_special_modes(
    scripts: dict[str, ModuleType], tmp_path: Path
) -> None:
    package, root = tmp_path / "x.deb", tmp_path / "root"
    root.mkdir()
    package.write_bytes(
        deb(
            {
                "./usr/bin/python3.11": b"ELF",
                "./bin/sh": b"ELF",
                "./usr/bin/perl": b"ELF",
                "./lib/x86_64-linux-gnu/libx.so.1": b"ELF",
            }
        )
    )
    scripts["debian"]._unpack("libx", package, root)
    files = {path.relative_to(root).as_posix(): path for path in root.rglob("*") if path.is_file()}
    assert set(files) == {
        "usr/bin/python3.11",
        "usr/lib/x86_64-linux-gnu/libx.so.1",
        "var/lib/dpkg/status.d/libx",
        "var/lib/dpkg/status.d/libx.md5sums",
    }
    assert files["usr/bin/python3.11"].stat().st_mode & 0o7777 == 0o755
    assert files["var/lib/dpkg/status.d/libx.md5sums"].read_text() == "00  usr/bin/python3.11\n"


def test_a_package_that_leads_outside_is_refused(scripts: dict[str, ModuleType], tmp_path: Path) -> None:
    package = tmp_path / "x.deb"
    package.write_bytes(deb({"./usr/lib/python3.11/../../../../escaped": b"x"}))
    with pytest.raises(ValueError, match="is outside of the package"):
        scripts["debian"]._unpack("libx", package, tmp_path / "root")
    assert not (tmp_path / "escaped").exists()


def test_the_bytes_of_a_layer_depend_on_nothing_but_its_content(
    scripts: dict[str, ModuleType], tmp_path: Path
) -> None:
    def made(name: str, order: list[str], mask: int, time: int) -> tuple[Any, bytes]:
        root, old = tmp_path / name, os.umask(mask)
        try:
            for each in order:
                path = root / each
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(f"{each!r}")
                os.utime(path, (time, time))
            (root / "link").symlink_to("b/two.py")
            (root / "tmp").mkdir()
            (root / "b" / "one").chmod(0o700 if mask else 0o6777)
        finally:
            os.umask(old)
        output = io.BytesIO()
        scripts["layer"].compile_modules(root, root / "b")
        return scripts["layer"].pack(root, 5, output), output.getvalue()

    names = ["a/one", "b/one", "b/two.py", "b/ä" * 40]
    (about, data), (again, other) = made("x", names, 0o000, 1), made("y", names[::-1], 0o077, 10**9)
    assert about == again
    assert data == other
    assert about["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        members = {member.name: member for member in archive}
    assert {(each.uid, each.gid, each.mtime, each.uname) for each in members.values()} == {(0, 0, 5, "")}
    assert {name: each.mode for name, each in members.items() if each.isreg()}["b/one"] == 0o755
    assert members["tmp"].mode == 0o1777
    assert members["a"].mode == 0o755
    assert [name for name in members if name.endswith(".pyc")]


def test_the_time_of_the_image_must_be_known(tmp_path: Path) -> None:
    done = run("build.py", "--out", tmp_path / "out", "--cache", tmp_path / "cache", SOURCE_DATE_EPOCH="now")
    assert done.returncode == 1
    assert "SOURCE_DATE_EPOCH: expected seconds since 1970, got 'now'" in done.stderr


def test_a_renewed_lock_needs_debians_signature(tmp_path: Path, mirror: str) -> None:
    _Mirror.content["/debian/dists/bookworm/InRelease"] = b"Codename: bookworm\n"
    lock, keyring = tmp_path / "lock.json", tmp_path / "keys.gpg"
    keyring.write_bytes(b"")
    done = run("refresh_lock.py", "--mirror", mirror, "--lock", lock, "--keyring", keyring)
    assert done.returncode == 1
    assert "no valid signature of Debian" in done.stderr or "gpgv" in done.stderr
    assert not lock.exists()
