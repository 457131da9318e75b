"""Statements: a frozen run becomes an unsigned in-toto statement, and a statement is read back. Pure.

``slsa_v02`` and ``slsa_v1`` write, field for field, what Tekton Chains v0.29 writes for the same run. What
Chains leaves out goes into the ``execution_report`` and never into the compatible statements. May not come in
here: input and output, configuration.
"""
