"""The annotations of an image layer that carries a signature: three of cosign's, one of ours."""

CERTIFICATE_ANNOTATION = "dev.sigstore.cosign/certificate"
"""The leaf certificate in PEM. Cosign writes the rest of the chain into another annotation, which no verifier
needs: the trusted root has the authorities."""
BUNDLE_ANNOTATION = "dev.sigstore.cosign/bundle"
"""Cosign's form of a Rekor v1 entry. It cannot express an entry of Rekor v2."""
TIMESTAMP_ANNOTATION = "dev.sigstore.cosign/rfc3161timestamp"
MATERIAL_ANNOTATION = "provenance.chains/verification-material"
"""Log entry and timestamp in the form that a bundle has, for entries that cosign's annotation cannot
express."""
