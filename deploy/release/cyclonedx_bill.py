"""A bill of materials as CycloneDX 1.6, validated against the published schema.

https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component as Described
from cyclonedx.model.component import ComponentScope, ComponentType
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import LicenseExpression
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

from deploy.release.bill import Bill
from deploy.release.errors import ReleaseError
from deploy.release.inventory import Component

PREDICATE = "https://cyclonedx.org/bom"
"""The predicate type, as cosign and in-toto name it."""
_VERSION = SchemaVersion.V1_6
_EXTRAS = "provenance.chains:extras"


def to_cyclonedx(bill: Bill) -> str:
    """Return the document. Raises :class:`ReleaseError` if it does not meet the schema."""
    described = {one.purl: _described(one) for one in bill.components}
    root = _described(bill.root)
    if bill.root.sha256:
        root.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=bill.root.sha256))
    graph = [
        Dependency(
            ref=item.bom_ref,
            dependencies=[
                Dependency(ref=described[purl].bom_ref) for purl in one.depends if purl in described
            ],
        )
        for one, item in [(bill.root, root), *((one, described[one.purl]) for one in bill.components)]
    ]
    bom = Bom(
        components=described.values(),
        dependencies=graph,
        serial_number=bill.uuid,
        metadata=BomMetaData(
            component=root,
            timestamp=bill.created,
            properties=[Property(name="provenance.chains:comment", value=bill.comment)],
        ),
    )
    text = make_outputter(bom, OutputFormat.JSON, _VERSION).output_as_string(indent=1)
    check_cyclonedx(text)
    return text + "\n"


def check_cyclonedx(text: str) -> None:
    """Raise :class:`ReleaseError` for what is no CycloneDX 1.6."""
    problem = JsonStrictValidator(_VERSION).validate_str(text)
    if problem is not None:
        raise ReleaseError(
            f"CycloneDX document does not meet the schema of {_VERSION.to_version()}: {problem}"[:2000]
        )


def _described(one: Component) -> Described:
    return Described(
        bom_ref=one.purl,
        name=one.name,
        version=one.version,
        type=ComponentType(one.kind),
        purl=PackageURL.from_string(one.purl),
        scope=ComponentScope.REQUIRED if one.is_required else ComponentScope.OPTIONAL,
        licenses=[LicenseExpression(one.licence)] if one.licence else [],
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one.sha256)] if one.sha256 else [],
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(file.url),
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file.sha256)],
            )
            for file in one.files
        ],
        properties=[Property(name=_EXTRAS, value=",".join(one.extras))] if one.extras else [],
    )
