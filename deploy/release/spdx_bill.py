"""A bill of materials as SPDX 2.3, validated by the SPDX project's own library.

https://spdx.github.io/spdx-spec/v2.3/
"""

from __future__ import annotations

import json

from spdx_tools.common.spdx_licensing import spdx_licensing
from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter
from spdx_tools.spdx.model import (
    Actor,
    ActorType,
    Checksum,
    ChecksumAlgorithm,
    CreationInfo,
    Document,
    ExternalPackageRef,
    ExternalPackageRefCategory,
    Package,
    PackagePurpose,
    Relationship,
    RelationshipType,
    SpdxNoAssertion,
)
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from deploy.release.bill import Bill
from deploy.release.errors import ReleaseError
from deploy.release.inventory import Component

PREDICATE = "https://spdx.dev/Document"
"""The predicate type, as cosign and in-toto name it."""
_DOCUMENT = "SPDXRef-DOCUMENT"
_VERSION = "SPDX-2.3"
_PURPOSES = {
    "library": PackagePurpose.LIBRARY,
    "application": PackagePurpose.APPLICATION,
    "container": PackagePurpose.CONTAINER,
}


def to_spdx(bill: Bill) -> str:
    """Return the document. Raises :class:`ReleaseError` if the library finds a problem in it."""
    ids = {bill.root.purl: "SPDXRef-artifact"}
    ids |= {one.purl: f"SPDXRef-package-{number}" for number, one in enumerate(bill.components, 1)}
    relations = [Relationship(_DOCUMENT, RelationshipType.DESCRIBES, ids[bill.root.purl])]
    by_purl = {one.purl: one for one in bill.components}
    for one in (bill.root, *bill.components):
        relations += [
            _needs(ids[one.purl], ids[purl], by_purl[purl]) for purl in one.depends if purl in by_purl
        ]
    document = Document(
        CreationInfo(
            spdx_version=_VERSION,
            spdx_id=_DOCUMENT,
            name=f"{bill.root.name} {bill.root.version}: {bill.artifact.name}",
            document_namespace=f"https://provenance.chains/spdx/{bill.uuid}",
            creators=[Actor(ActorType.TOOL, f"provenance-chains-release-{bill.root.version}")],
            created=bill.created.replace(tzinfo=None),
            document_comment=bill.comment,
        ),
        packages=[_package(one, ids[one.purl]) for one in (bill.root, *bill.components)],
        relationships=relations,
    )
    problems = validate_full_spdx_document(document, _VERSION)
    if problems:
        told = "; ".join(problem.validation_message for problem in problems[:5])
        raise ReleaseError(f"SPDX document is not valid: {told}")
    return json.dumps(DocumentConverter().convert(document), indent=1, sort_keys=True) + "\n"


def _needs(owner: str, needed: str, one: Component) -> Relationship:
    """Say that ``owner`` needs the package ``one``, or that it may."""
    if one.is_required:
        return Relationship(owner, RelationshipType.DEPENDS_ON, needed)
    return Relationship(needed, RelationshipType.OPTIONAL_DEPENDENCY_OF, owner)


def _package(one: Component, name: str) -> Package:
    # a package of an index has many files, and SPDX has room for one: the source, else the first wheel
    first = one.files[0] if one.files else None
    sha256 = one.sha256 or (first.sha256 if first else "")
    return Package(
        spdx_id=name,
        name=one.name,
        version=one.version,
        download_location=first.url if first else SpdxNoAssertion(),
        supplier=SpdxNoAssertion(),
        files_analyzed=False,
        checksums=[Checksum(ChecksumAlgorithm.SHA256, sha256)] if sha256 else [],
        license_concluded=SpdxNoAssertion(),
        license_declared=spdx_licensing.parse(one.licence) if one.licence else SpdxNoAssertion(),
        copyright_text=SpdxNoAssertion(),
        comment=f"needed by the extras {', '.join(one.extras)}" if one.extras else None,
        external_references=[
            ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", one.purl)
        ],
        primary_package_purpose=_PURPOSES.get(one.kind),
    )
