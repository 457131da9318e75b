"""Stores: subjects and signed bytes in, receipts out.

May come in here: where a record goes, how it is found again, how a registry, a folder or a bucket is
spoken to. May not: Tekton, Kubernetes, keys, what a predicate means. Nothing here imports ``chains`` or
``signers``; what crosses is :class:`storage.record.Record`.
"""

DISTRIBUTION = "provenance-chains"
"""Whose ``storage`` this is: other distributions bring a package of that name too."""
