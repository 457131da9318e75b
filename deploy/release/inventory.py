"""What an artifact contains: packages with versions, licences and hashes, from the lock file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from license_expression import ExpressionError
from packageurl import PackageURL
from spdx_tools.common.spdx_licensing import spdx_licensing

from deploy.release.artifacts import NAME

_CLASSIFIERS = {
    "License :: OSI Approved :: Apache Software License": "Apache-2.0",
    "License :: OSI Approved :: MIT License": "MIT",
    "License :: OSI Approved :: ISC License (ISCL)": "ISC",
    "License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "License :: OSI Approved :: Python Software Foundation License": "PSF-2.0",
    "License :: OSI Approved :: GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
}
"""Classifiers that name exactly one licence. "BSD License" does not."""
_WORDS = {
    "apache 2.0": "Apache-2.0",
    "apache license 2.0": "Apache-2.0",
    "apache license, version 2.0": "Apache-2.0",
    "apache license version 2.0": "Apache-2.0",
    "apache software license 2.0": "Apache-2.0",
    "mit license": "MIT",
    "3-clause bsd license": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause",
    "bsd-3": "BSD-3-Clause",
}
"""What the old field ``License`` says in words, where it can mean one licence alone."""


_LONGEST = 200
"""Characters of an expression; what is longer is the text of a licence."""


@dataclass(frozen=True, slots=True)
class File:
    """A file from which a package can be installed."""

    url: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Component:
    """A package in an artifact, or one that its installation brings."""

    name: str
    version: str
    purl: str
    licence: str = ""
    """An SPDX expression; empty if the package does not state one that can be read."""
    files: tuple[File, ...] = ()
    is_required: bool = True
    """False if only an extra, a platform or a version of Python needs it."""
    extras: tuple[str, ...] = ()
    """The extras of this project that need it; empty for a package that every installation has."""
    depends: tuple[str, ...] = ()
    """The package URLs of what it needs."""
    kind: str = "library"
    """``library`` or ``container``, as CycloneDX calls it."""
    sha256: str = ""
    """The digest, if the package is one file in the artifact."""


@dataclass(slots=True)
class _Seen:
    package: Mapping[str, Any]
    is_required: bool = False
    extras: set[str] = field(default_factory=set)
    is_base: bool = False
    depends: set[str] = field(default_factory=set)


class Lock:
    """The packages of ``uv.lock``."""

    def __init__(self, path: Path) -> None:
        self._packages: dict[str, list[Mapping[str, Any]]] = {}
        for package in tomllib.loads(path.read_text(encoding="utf-8"))["package"]:
            self._packages.setdefault(package["name"], []).append(package)
        (self._own,) = self._packages[NAME]

    def runtime(self) -> list[Component]:
        """Return what an installation brings, with every extra, in the order of names.

        A lock file has no licences. They are those that the packages state in this environment, which is
        installed from the same file.
        """
        seen: dict[str, _Seen] = {}
        self._walk(self._own.get("dependencies", ()), seen, None, is_required=True)
        for extra, needed in self._own.get("optional-dependencies", {}).items():
            self._walk(needed, seen, extra, is_required=False)
        return [self._component(one) for _, one in sorted(seen.items())]

    def named(self, *names: str) -> list[Component]:
        """Return packages by name, such as those that build the wheel, with what they need."""
        seen: dict[str, _Seen] = {}
        self._walk([{"name": name} for name in names], seen, None, is_required=True)
        return [self._component(one) for _, one in sorted(seen.items())]

    def direct(self) -> list[str]:
        """Return the package URLs of what this project itself needs, extras included."""
        listed = [*self._own.get("dependencies", ())]
        for needed in self._own.get("optional-dependencies", {}).values():
            listed += needed
        return sorted({_purl(package) for one in listed for package in self._found(one)})

    def _walk(
        self,
        needed: Sequence[Mapping[str, Any]],
        seen: dict[str, _Seen],
        extra: str | None,
        *,
        is_required: bool,
    ) -> None:
        for one in needed:
            for package in self._found(one):
                required = is_required and "marker" not in one
                known = seen.setdefault(_purl(package), _Seen(package))
                is_news = (extra not in known.extras) if extra else not known.is_base
                if not is_news and known.is_required >= required:
                    continue
                known.is_required |= required
                known.is_base |= extra is None
                known.extras |= {extra} if extra else set()
                inner = [*package.get("dependencies", ())]
                for name in one.get("extra", ()):
                    inner += package.get("optional-dependencies", {}).get(name, ())
                known.depends |= {_purl(found) for item in inner for found in self._found(item)}
                self._walk(inner, seen, extra, is_required=required)

    def _found(self, wanted: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        for package in self._packages[wanted["name"]]:
            if wanted.get("version", package.get("version")) == package.get("version"):
                yield package

    @staticmethod
    def _component(seen: _Seen) -> Component:
        package = seen.package
        listed = [*([package["sdist"]] if "sdist" in package else ()), *package.get("wheels", ())]
        return Component(
            name=package["name"],
            version=package["version"],
            purl=_purl(package),
            licence=licence_of(package["name"], package["version"]),
            files=tuple(File(one["url"], one["hash"].removeprefix("sha256:")) for one in listed),
            is_required=seen.is_required,
            extras=() if seen.is_base else tuple(sorted(seen.extras)),
            depends=tuple(sorted(seen.depends)),
        )


def _purl(package: Mapping[str, Any]) -> str:
    return PackageURL("pypi", None, package["name"], package["version"]).to_string()


@cache
def licence_of(name: str, version: str) -> str:
    """Return the SPDX expression that an installed package states; empty if unclear or of another version."""
    try:
        found = metadata(name)
    except PackageNotFoundError:
        return ""
    return _stated(found) if found["Version"] == version else ""


def _stated(found: PackageMetadata) -> str:
    texts = [found[name] for name in ("License-Expression", "License") if name in found]
    classifiers = [_CLASSIFIERS.get(one, "") for one in found.get_all("Classifier", [])]
    named = [one for one in classifiers if one]
    for text in [*texts, *(named if len(named) == 1 else ())]:
        if expression := spdx_expression(text or ""):
            return expression
    return ""


def spdx_expression(text: str) -> str:
    """Return a text as an SPDX expression in its usual spelling, empty if it is none."""
    wanted = _WORDS.get(text.strip().lower(), text.strip())
    if not wanted or "\n" in wanted or len(wanted) > _LONGEST:
        return ""
    try:
        parsed = spdx_licensing.parse(wanted, validate=True, strict=True)
    except (ExpressionError, ValueError):
        return ""
    return "" if parsed is None else str(parsed)
