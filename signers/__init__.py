"""Signers: bytes and keys only.

May come in here: keys and key services, DSSE envelopes, Sigstore bundles, logs, timestamps and trust
roots. May not: runs, statements, subjects, stores. Nothing here imports ``chains`` or ``storage``.
"""

DISTRIBUTION = "provenance-chains"
"""Whose ``signers`` this is: other distributions bring a package of that name too."""
