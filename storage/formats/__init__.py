"""Formats: stored documents as bytes: manifests, Tekton Chains' documents, references, digests. Pure.

May not come in here: network and file system.
"""
