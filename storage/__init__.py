"""Stores: records (subjects and signed bytes) go in, receipts come out.

Allowed here: where a record is stored, how it is found again, how to talk to a registry, a folder or a
bucket. Not allowed: Tekton, Kubernetes, keys, the meaning of a predicate. No module here imports ``chains``
or ``signers``; callers pass :class:`storage.record.Record`.
"""

DISTRIBUTION = "provenance-chains"
"""The distribution that this package belongs to. Other distributions also install a package named
``storage``; a caller compares this value to detect that the wrong one is on the path."""
