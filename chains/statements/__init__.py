"""Statements: a frozen run becomes an unsigned in-toto statement, and a statement is read back. Pure.

``slsa_v02`` and ``slsa_v1`` give field for field what Tekton Chains v0.29 gives for the same run. What
Chains leaves out is told by ``execution_report``, never added to the compatible ones. May not come in here:
input and output, configuration.
"""
