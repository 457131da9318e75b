"""The lock of the base: which Debian packages, by version and SHA-256, and how they are fetched.

The lock names no host. A mirror is a root below which the archives ``debian`` and ``debian-security`` are, or
a template with ``{archive}`` and ``{time}``. What comes from it is compared with the lock, so it need not be
trusted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from errors import ImageError, NotFetchedError

FORMAT = 1
ARCHIVES = ("debian", "debian-security")
SNAPSHOT = "https://snapshot.debian.org/archive/{archive}/{time}"
"""Keeps every version of every package. To be passed as a mirror; never used unasked."""
PUBLIC = "https://deb.debian.org"
TRIES = 3
SECONDS = 60
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PATH = re.compile(r"pool/[A-Za-z0-9.+~_/-]+\.deb")
_NAME = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_TIME = re.compile(r"\d{8}T\d{6}Z")


@dataclass(frozen=True, slots=True)
class Package:
    """One version of a Debian package for one architecture."""

    name: str
    version: str
    architecture: str
    """The architecture of the image that needs it, ``amd64`` or ``arm64``, also for packages of all."""
    archive: str
    path: str
    """Below the archive: ``pool/…``."""
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Lock:
    """All packages of the base."""

    suite: str
    time: str
    """When the newest of its package indexes was published: ``YYYYMMDDTHHMMSSZ``, UTC."""
    packages: tuple[Package, ...]

    def of(self, architecture: str) -> tuple[Package, ...]:
        """Return the packages for an architecture, by name."""
        return tuple(each for each in self.packages if each.architecture == architecture)


def read(path: Path) -> Lock:
    """Read a lock. Raises :class:`ImageError` if it is not whole."""
    try:
        data = json.loads(path.read_bytes())
        if data["format"] != FORMAT:
            raise ImageError(f"{path}: format {data['format']!r}: expected {FORMAT}")
        packages = tuple(Package(**each) for each in data["packages"])
        lock = Lock(data["suite"], data["time"], packages)
        checks = [(bool(_TIME.fullmatch(lock.time)), "time")]
        for each in packages:
            checks += [
                (bool(_NAME.fullmatch(each.name)), f"name {each.name!r}"),
                (each.archive in ARCHIVES, f"archive of {each.name}"),
                (bool(_PATH.fullmatch(each.path)) and ".." not in each.path, f"path of {each.name}"),
                (bool(_SHA256.fullmatch(each.sha256)), f"sha256 of {each.name}"),
                (isinstance(each.size, int) and each.size > 0, f"size of {each.name}"),
            ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageError(
            f"{path}: is not a lock of packages ({error}): renew it with refresh_lock.py"
        ) from error
    if wrong := [what for good, what in checks if not good]:
        raise ImageError(f"{path}: {wrong[0]} cannot be used: renew the lock with refresh_lock.py")
    return lock


def write(lock: Lock, path: Path) -> None:
    """Write a lock, one package on a line, so that a difference is easy to read."""
    packages = sorted(lock.packages, key=lambda each: (each.architecture, each.name))
    lines = ",\n".join(f"  {json.dumps(asdict(each))}" for each in packages)
    head = f'"format": {FORMAT}, "suite": {json.dumps(lock.suite)}, "time": {json.dumps(lock.time)}'
    made = path.with_name(f".{path.name}.new")
    made.write_text(f'{{{head}, "packages": [\n{lines}\n]}}\n')
    made.replace(path)


def fetch(lock: Lock, architecture: str, mirrors: Sequence[str], folder: Path) -> dict[str, Path]:
    """Return the files of an architecture's packages by name, fetched unless ``folder`` has them.

    Raises :class:`NotFetchedError` if no mirror has one, and :class:`ImageError` if its content differs
    from that of the lock.
    """
    wanted = lock.of(architecture)
    if not wanted:
        raise ImageError(
            f"the lock has no packages for {architecture}: add it to refresh_lock.py and renew the lock"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda each: _fetch(lock, each, mirrors, folder), wanted)
        return {each.name: path for each, path in zip(wanted, found, strict=True)}


def _fetch(lock: Lock, package: Package, mirrors: Sequence[str], folder: Path) -> Path:
    target = folder / f"{package.sha256}.deb"
    if target.exists() and _digest(target.read_bytes()) == package.sha256:
        return target
    refused = []
    for mirror in mirrors:
        url = f"{place(mirror, package.archive, lock.time)}/{package.path}"
        try:
            data = download(url, package.size)
        except OSError as error:
            refused.append(f"{shown(url)}: {error}")
            continue
        if (got := _digest(data)) != package.sha256:
            raise ImageError(
                f"{_told(package)}: expected sha256:{package.sha256}, got sha256:{got} from {shown(url)}: "
                "use another --mirror, and do not renew the lock to make this pass"
            )
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as file:
            file.write(data)
        Path(file.name).replace(target)
        return target
    raise NotFetchedError(
        f"{_told(package)} cannot be fetched ({'; '.join(refused)}): "
        f"if the mirror has only a newer version, pass --mirror '{SNAPSHOT}', which keeps all, "
        "or renew the lock with refresh_lock.py"
    )


def _told(package: Package) -> str:
    return f"{package.name} {package.version} for {package.architecture}"


def download(url: str, limit: int) -> bytes:
    """Return what a URL has, at most ``limit`` bytes and one more. Raises :class:`OSError`."""
    request = _request(url)
    for attempt in range(TRIES):
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as response:  # noqa: S310 - a mirror of the user
                data: bytes = response.read(limit + 1)
                return data
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == TRIES - 1:  # noqa: PLR2004
                raise
        except OSError:
            if attempt == TRIES - 1:
                raise
        time.sleep(2**attempt)
    raise AssertionError


def _request(url: str) -> urllib.request.Request:
    """Return a request for a URL, which may have a user and a password; these are for its host only."""
    parts = urlsplit(url)
    request = urllib.request.Request(shown(url))  # noqa: S310 - a mirror of the user
    if parts.username is not None:
        named = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        request.add_unredirected_header("Authorization", f"Basic {b64encode(named.encode()).decode()}")
    return request


def place(mirror: str, archive: str, at: str) -> str:
    """Return where a mirror has an archive."""
    if "{" in mirror:
        return mirror.replace("{archive}", archive).replace("{time}", at).rstrip("/")
    return f"{mirror.rstrip('/')}/{archive}"


def shown(url: str) -> str:
    """Return a URL without a password."""
    return re.sub(r"//[^/@]*@", "//", url)


def mirrors() -> list[str]:
    """Return this machine's mirrors: ``CHAINS_IMAGE_MIRROR`` (by spaces), apt's, or the public one."""
    if named := os.environ.get("CHAINS_IMAGE_MIRROR", "").split():
        return named
    found: list[str] = []
    for path in sorted(Path("/etc/apt").rglob("*")):
        if path.suffix in {".list", ".sources"} and path.is_file():
            text = path.read_text(errors="replace")
            # "URIs: https://…/debian", or "deb [options] https://…/debian suite component"
            for root in re.findall(
                r"^(?!\s*#).*?(https?://\S+?)/debian(?:-security)?/?(?:\s|$)", text, re.MULTILINE
            ):
                if root not in found:
                    found.append(root)
    return found or [PUBLIC]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
