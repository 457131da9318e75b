"""What a layer of form A carries beside its signature: cosign's annotations, and one of ours."""

CERTIFICATE_ANNOTATION = "dev.sigstore.cosign/certificate"
"""PEM of the leaf; the rest of its chain, in another annotation, proves nothing."""
BUNDLE_ANNOTATION = "dev.sigstore.cosign/bundle"
"""Cosign's own, for the entries of Rekor v1: it has no form for those of v2."""
TIMESTAMP_ANNOTATION = "dev.sigstore.cosign/rfc3161timestamp"
MATERIAL_ANNOTATION = "provenance.chains/verification-material"
"""Ours, with log entry and timestamp as bundles have them."""
