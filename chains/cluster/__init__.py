"""Cluster: the Kubernetes API: access, client, errors, Events, Leases.

May not come in here: Tekton, runs, configuration.
"""
