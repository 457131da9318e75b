"""The simple-signing payload of an image, byte for byte as Chains and cosign write it.

https://github.com/containers/image/blob/main/docs/containers-signature.5.md
"""

from __future__ import annotations

from chains.statements.statement import STATEMENT_V1, ResourceDescriptor, Statement
from chains.tekton.go_values import marshal
from chains.tekton.image_name import ImageDigest

COSIGN_SIGN = "https://sigstore.dev/cosign/sign/v1"


def build(image: ImageDigest) -> bytes:
    """Return the payload that form A signs raw."""
    return marshal(
        {
            "critical": {
                "identity": {"docker-reference": image.repository},
                "image": {"docker-manifest-digest": f"sha256:{image.hex}"},
                "type": "cosign container image signature",
            },
            "optional": None,
        }
    )


def build_statement(image: ImageDigest) -> Statement:
    """Return the statement that cosign 3 signs instead, for form B."""
    subject = ResourceDescriptor(name=image.repository, digest={"sha256": image.hex})
    return Statement(STATEMENT_V1, (subject,), COSIGN_SIGN, {})
