"""Signers: keys, signatures and what proves a signature.

Allowed here: keys and key services, DSSE envelopes, Sigstore bundles, transparency logs, timestamps and
trusted roots. Not allowed: runs, statements, subjects, stores. No module here imports ``chains`` or
``storage``.
"""

DISTRIBUTION = "provenance-chains"
"""The distribution that this package belongs to. Other distributions also install a package named
``signers``; a caller compares this value to detect that the wrong one is on the path."""
