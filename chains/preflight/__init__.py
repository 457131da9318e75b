"""Preflight: every image that runs or is desired, and whether the policies would let it pass.

``inventory`` gathers images from files or a cluster, ``check`` asks the policies, ``report`` writes the
answers as JSON, JUnit or SARIF, ``openreports`` and ``cluster_reports`` as reports in the cluster.

May come in: where images are named, and forms of the report. May not come in: what a policy decides.
"""
