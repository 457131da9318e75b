"""The base: a root folder of the few files of Debian packages that Python needs, without a shell.

Nothing of a package is run. Links, certificates and accounts that its scripts would make are made here. The
packages are registered in ``/var/lib/dpkg/status.d``, as in distroless images, so that scanners find them.
"""

from __future__ import annotations

import io
import re
import shutil
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from errors import ImageError

SUITE = "bookworm"
PYTHON = "python3.11"
PACKAGES = (
    "base-files",
    "ca-certificates",
    "gcc-12-base",
    "libbz2-1.0",
    "libc6",
    "libcrypt1",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libsqlite3-0",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    "python3.11-minimal",
    "zlib1g",
)
MULTIARCH = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
LOADER = {"amd64": "ld-linux-x86-64.so.2", "arm64": "ld-linux-aarch64.so.1"}
USER = 65532
# bookworm's packages still have these outside of /usr
_MERGED = ("bin", "sbin", "lib", "lib64")
_KEPT = re.compile(
    rf"""
      usr/bin/{PYTHON}
    | usr/lib/(x86_64|aarch64)-linux-gnu/[^/]+\.so[^/]*
    | usr/lib(64)?/ld-linux[^/]+
    | usr/lib/{PYTHON}/.+ | etc/{PYTHON}/.+
    | usr/lib/os-release | etc/os-release | etc/debian_version
    | usr/share/ca-certificates/mozilla/.+\.crt
    | usr/share/doc/[^/]+(/copyright)? | usr/share/common-licenses/.+
    """,
    re.VERBOSE,
)
# modules for terminals, NIS and Berkeley DB, whose libraries are not here; what compilers and help() need
_LEFT_OUT = re.compile(
    r"usr/lib/python3\.\d+/"
    r"(lib-dynload/(readline|_curses|_curses_panel|nis|_dbm)\..+|config-[^/]+/.+|pydoc_data/.+|test/.+)"
)
_ACCOUNTS = {
    "etc/passwd": f"root:x:0:0:root:/:/sbin/nologin\nchains:x:{USER}:{USER}:chains:/tmp:/sbin/nologin\n",
    "etc/group": f"root:x:0:\nchains:x:{USER}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
}
_LINKS = {
    **{name: f"usr/{name}" for name in ("bin", "sbin", "lib")},
    f"usr/bin/{PYTHON.removesuffix('.11')}": PYTHON,
    "usr/lib/ssl/certs": "/etc/ssl/certs",
    # OpenSSL's default file
    "usr/lib/ssl/cert.pem": "/etc/ssl/certs/ca-certificates.crt",
    "var/run": "/run",
}
_FOLDERS = ("dev", "proc", "run", "sys", "tmp", "usr/sbin")


def unpack(packages: Mapping[str, Path], architecture: str, root: Path) -> None:
    """Make the base in the folder ``root`` from the files of all packages.

    Raises :class:`ImageError` if a package is missing or is no Debian package.
    """
    if missing := set(PACKAGES) - set(packages):
        names = ", ".join(sorted(missing))
        raise ImageError(f"the lock lacks {names} for {architecture}: renew it with refresh_lock.py")
    for name in PACKAGES:
        try:
            _unpack(name, packages[name], root)
        except (tarfile.TarError, EOFError, ValueError, KeyError) as error:
            raise ImageError(
                f"{name} for {architecture}: is not a Debian package that can be read: {error}"
            ) from error
    bundle = root / "etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True)
    certificates = root / "usr/share/ca-certificates"
    bundle.write_bytes(b"".join(path.read_bytes() for path in sorted(certificates.rglob("*.crt"))))
    shutil.rmtree(certificates)
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    links = _LINKS | ({"lib64": "usr/lib64"} if architecture == "amd64" else {})
    for place, target in links.items():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    for place, text in _ACCOUNTS.items():
        (root / place).write_text(text)


def _unpack(name: str, package: Path, root: Path) -> None:
    parts = dict(_members(package.read_bytes()))
    kept: set[str] = set()
    with _archive(parts, "data.tar") as archive:
        for member in archive:
            place = _place(member.name)
            if not _KEPT.fullmatch(place) or _LEFT_OUT.fullmatch(place) or member.isdir():
                continue
            path = root / place
            path.parent.mkdir(parents=True, exist_ok=True)
            if member.issym():
                path.symlink_to(member.linkname)
            elif member.isreg():
                content = archive.extractfile(member)
                path.write_bytes(content.read() if content else b"")
                path.chmod(0o755 if member.mode & 0o100 else 0o644)
                kept.add(member.name.removeprefix("./"))
            else:
                raise ValueError(f"{member.name} is neither a file nor a link")
    with _archive(parts, "control.tar") as archive:
        texts = {
            member.name.removeprefix("./"): content.read()
            for member in archive
            if (content := archive.extractfile(member))
        }
    sums = [line for line in texts["md5sums"].decode().splitlines() if line.split("  ", 1)[1] in kept]
    status = root / "var/lib/dpkg/status.d"
    status.mkdir(parents=True, exist_ok=True)
    (status / name).write_bytes(texts["control"])
    (status / f"{name}.md5sums").write_text("".join(f"{line}\n" for line in sums))


def _place(name: str) -> str:
    """Return where a member of a package belongs, with merged /usr."""
    parts = PurePosixPath(name).parts
    if ".." in parts or name.startswith("/"):
        raise ValueError(f"{name} is outside of the package")
    place = "/".join(parts)
    return f"usr/{place}" if parts and parts[0] in _MERGED else place


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of an ar archive."""
    if not data.startswith(b"!<arch>\n"):
        raise ValueError("no ar archive")
    at = 8
    while at + 60 <= len(data):
        name, size = data[at : at + 16].decode().strip().rstrip("/"), int(data[at + 48 : at + 58])
        yield name, data[at + 60 : at + 60 + size]
        at += 60 + size + size % 2


def _archive(parts: Mapping[str, bytes], stem: str) -> tarfile.TarFile:
    (found,) = [name for name in parts if name.startswith(f"{stem}.")]
    return tarfile.open(fileobj=io.BytesIO(parts[found]))
