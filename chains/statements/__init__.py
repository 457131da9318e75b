"""Predicates: one file for each, a frozen snapshot in, a statement out. Nothing here does input or output.

``slsa_v02`` and ``slsa_v1`` give field for field what Tekton Chains v0.29 gives for the same run. What
Chains leaves out is told by ``scai_execution``, never added to the compatible ones.
"""
