"""Formats that carry signatures: DSSE envelopes, Sigstore bundles, the annotations of an image layer.

Not allowed here: reading keys from files, services, network access.
"""
