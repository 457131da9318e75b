#!/usr/bin/env python3
"""Renew the lock of the base: the newest versions of its packages that Debian has signed.

    python3 deploy/image/refresh_lock.py [--mirror URL] [--lock FILE] [--keyring FILE]

The signature of each suite's index is verified with gpgv and Debian's keys (packages ``gpgv`` and
``debian-archive-keyring``). The difference of the lock file shows what changes.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import lzma
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from itertools import zip_longest
from pathlib import Path

from debian import MULTIARCH, PACKAGES, SUITE
from errors import ImageError
from lock import Lock, Package, download, mirrors, place, shown, write

HERE = Path(__file__).parent
LOCK = HERE / "base.lock.json"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
SUITES = (("debian", SUITE), ("debian-security", f"{SUITE}-security"))
MOST = 100 << 20
_NOW = "now"


def main() -> int:
    """Renew the lock; return 0, or 1 with a sentence if that is not possible."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--mirror", action="append", help="root of the archives; default: CHAINS_IMAGE_MIRROR or apt's"
    )
    parser.add_argument("--lock", type=Path, default=LOCK, help="the file to write")
    parser.add_argument("--keyring", type=Path, default=KEYRING, help="the keys of Debian's archive")
    options = parser.parse_args()
    try:
        lock = renewed(options.mirror or mirrors(), options.keyring)
        write(lock, options.lock)
    except (ImageError, OSError) as error:
        print(f"refresh_lock.py: {error}", file=sys.stderr)
        return 1
    print(f"{options.lock}: {len(lock.packages)} packages of {lock.suite}, state of {lock.time}")
    return 0


def renewed(roots: list[str], keyring: Path) -> Lock:
    """Return the newest packages.

    Raises :class:`ImageError` if an index is not signed by Debian, or if one of the packages is nowhere.
    """
    newest: dict[tuple[str, str], Package] = {}
    times = []
    for archive, suite in SUITES:
        release, base = _release(roots, archive, suite, keyring)
        times.append(_time(release))
        for architecture in MULTIARCH:
            for package in _packages(release, base, archive, architecture):
                known = newest.get((architecture, package.name))
                if known is None or compare(package.version, known.version) > 0:
                    newest[architecture, package.name] = package
    for architecture in MULTIARCH:
        if missing := [name for name in PACKAGES if (architecture, name) not in newest]:
            raise ImageError(f"{SUITE} has no {', '.join(missing)} for {architecture}")
    return Lock(SUITE, max(times), tuple(newest.values()))


def _release(roots: list[str], archive: str, suite: str, keyring: Path) -> tuple[str, str]:
    """Return a suite's signed text, and where its archive is."""
    refused = []
    for root in roots:
        base = place(root, archive, _NOW)
        url = f"{base}/dists/{suite}/InRelease"
        try:
            data = download(url, MOST)
        except OSError as error:
            refused.append(f"{shown(url)}: {error}")
            continue
        with tempfile.TemporaryDirectory() as folder:
            signed, text = Path(folder) / "InRelease", Path(folder) / "Release"
            signed.write_bytes(data)
            command = [
                "gpgv",
                "--quiet",
                "--keyring",
                str(keyring.resolve()),
                "--output",
                str(text),
                str(signed),
            ]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode:
                raise ImageError(f"{shown(url)}: no valid signature of Debian: {done.stderr.strip()}")
            return text.read_text(), base
    raise ImageError(f"{suite} cannot be fetched ({'; '.join(refused)}): pass another --mirror")


def _time(release: str) -> str:
    found = re.search(r"^Date: (.+)$", release, re.MULTILINE)
    if found is None:
        raise ImageError("the signed index has no date")
    return datetime.strptime(found[1], "%a, %d %b %Y %H:%M:%S %Z").strftime("%Y%m%dT%H%M%SZ")  # noqa: DTZ007 - UTC


def _packages(release: str, base: str, archive: str, architecture: str) -> Iterator[Package]:
    name = f"main/binary-{architecture}/Packages.xz"
    hashes = release.partition("\nSHA256:\n")[2]
    found = re.search(rf"^ ([0-9a-f]{{64}}) +(\d+) (?:updates/)?{re.escape(name)}$", hashes, re.MULTILINE)
    suite = re.search(r"^Codename: (\S+)$", release, re.MULTILINE)
    if found is None or suite is None:
        raise ImageError(f"the signed index of {archive} does not name {name}")
    # by its hash, so that a mirror that is being updated gives no other
    url = f"{base}/dists/{suite[1]}/main/binary-{architecture}/by-hash/SHA256/{found[1]}"
    data = download(url, int(found[2]))
    if hashlib.sha256(data).hexdigest() != found[1]:
        raise ImageError(f"{shown(url)}: its content is not what Debian signed: pass another --mirror")
    for text in lzma.decompress(data).decode().split("\n\n"):
        fields = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", text, re.MULTILINE))
        if fields.get("Package") in PACKAGES:
            yield Package(
                fields["Package"], fields["Version"], architecture, archive,
                fields["Filename"], int(fields["Size"]), fields["SHA256"],
            )  # fmt: skip


def compare(one: str, other: str) -> int:
    """Compare two versions by Debian's policy, section 5.6.12: negative, 0 or positive."""
    for mine, yours in zip(_split(one), _split(other), strict=True):
        if result := _compare(mine, yours):
            return result
    return 0


def _split(version: str) -> tuple[str, str, str]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "")
    return epoch, upstream, revision


def _compare(one: str, other: str) -> int:
    parts = zip_longest(re.findall(r"(\D*)(\d*)", one), re.findall(r"(\D*)(\d*)", other), fillvalue=("", ""))
    for (text, number), (other_text, other_number) in parts:
        mine, yours = [_order(text), int(number or 0)], [_order(other_text), int(other_number or 0)]
        if mine != yours:
            return 1 if mine > yours else -1
    return 0


@functools.cache
def _order(text: str) -> list[int]:
    # "~" before the end, letters before everything else
    return [*(-1 if c == "~" else ord(c) if c.isalpha() else ord(c) + 256 for c in text), 0]


if __name__ == "__main__":
    sys.exit(main())
