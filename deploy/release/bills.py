"""Which bill of materials each artifact has."""

from __future__ import annotations

from pathlib import Path

from packageurl import PackageURL

from deploy.release.artifacts import NAME, PACKAGES, Artifact
from deploy.release.bill import Bill
from deploy.release.inventory import Component, Lock
from deploy.release.source import Source

LICENCE = "Apache-2.0"
_OF_LOCK = (
    "Versions and hashes are those of uv.lock, with which this release was tested; an installation may "
    "choose newer ones. Licences are those that the packages state about themselves."
)
_OF_FILES = (
    "This artifact has no packages of its own. The image that it names, if any, is listed with its digest."
)
_BUILD = ("hatchling",)


def purl_of(artifact: Artifact, source: Source) -> str:
    """Return the package URL of an artifact.

    It is generic, because the project is on no package index: ``pkg:pypi/provenance-chains`` could be
    somebody else's.
    """
    qualifiers = {"file_name": Path(artifact.path).name, "checksum": artifact.digest, "vcs_url": source.uri}
    return PackageURL("generic", None, artifact.part or NAME, source.version, qualifiers).to_string()


def bill_of(artifact: Artifact, source: Source, lock: Lock, image: str) -> Bill:
    """Return the bill of any artifact. ``image`` is what the manifests name: ``NAME@sha256:HEX``."""
    if artifact.kind in PACKAGES:
        return bill_of_package(artifact, source, lock)
    components = []
    if artifact.part == "release":
        name, _, digest = image.partition("@")
        purl = PackageURL("oci", None, name.rpartition("/")[2], digest, {"repository_url": name})
        components = [Component(name, digest, purl.to_string(), kind="container", sha256=digest[7:])]
    root = Component(
        artifact.part, source.version, purl_of(artifact, source), LICENCE,
        depends=tuple(one.purl for one in components), kind="application", sha256=artifact.hex,
    )  # fmt: skip
    return Bill(artifact, root, components, source.moment, _OF_FILES)


def bill_of_package(artifact: Artifact, source: Source, lock: Lock) -> Bill:
    """Return the bill of the wheel, or of the source distribution, which also names what builds it."""
    components = lock.runtime()
    direct = lock.direct()
    if artifact.kind == "sdist":
        known = {one.purl for one in components}
        building = lock.named(*_BUILD)
        components += [one for one in building if one.purl not in known]
        direct = sorted({*direct, *(one.purl for one in building if one.name in _BUILD)})
    root = Component(
        NAME, source.version, purl_of(artifact, source), LICENCE, depends=tuple(direct), kind="application",
        sha256=artifact.hex,
    )  # fmt: skip
    return Bill(artifact, root, components, source.moment, _OF_LOCK)
