"""Isolation: whether a run's containers had a network: requested, enforced, observed. Pure.

May not come in here: input and output, registries, the cluster.
"""
