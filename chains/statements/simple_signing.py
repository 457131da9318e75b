"""The simple-signing payload of an image, byte for byte as Chains and cosign write it.

https://github.com/containers/image/blob/main/docs/containers-signature.5.md
"""

from __future__ import annotations

from collections.abc import Mapping

from chains.statements.statement import STATEMENT_V1, ResourceDescriptor, Statement
from chains.tekton.go_values import marshal
from chains.tekton.image_name import ImageDigest
from signers.errors import FormatError
from signers.strict_json import member
from storage.record import COSIGN_SIGN_PREDICATE

COSIGN_SIGN = COSIGN_SIGN_PREDICATE
KIND = "cosign container image signature"


def build(image: ImageDigest) -> bytes:
    """Return the payload that form A signs directly."""
    return marshal(
        {
            "critical": {
                "identity": {"docker-reference": image.repository},
                "image": {"docker-manifest-digest": f"sha256:{image.hex}"},
                "type": KIND,
            },
            "optional": None,
        }
    )


def build_statement(image: ImageDigest) -> Statement:
    """Return the statement that cosign 3 signs instead (form B)."""
    subject = ResourceDescriptor(name=image.repository, digest={"sha256": image.hex})
    return Statement(STATEMENT_V1, (subject,), COSIGN_SIGN, {})


def signed_image(payload: Mapping[str, object], *, kind: str = "") -> str:
    """Return the manifest digest in a simple-signing payload, as it is written there.

    With ``kind``, the payload must have this type. Raises :class:`FormatError` for another type or a missing
    member.
    """
    critical = member(payload, "critical", dict, "payload")
    if kind:
        found = member(critical, "type", str, "payload")
        if found != kind:
            raise FormatError(f"payload: expected type {kind!r}, got {found[:64]!r}")
    return member(member(critical, "image", dict, "payload"), "docker-manifest-digest", str, "payload")


def signed_reference(payload: Mapping[str, object]) -> str:
    """Return the repository in a simple-signing payload. Raises :class:`FormatError`."""
    critical = member(payload, "critical", dict, "payload")
    return member(member(critical, "identity", dict, "payload"), "docker-reference", str, "payload")
