"""Stored documents as bytes: manifests, Tekton Chains' documents, references, digests. Pure functions.

Not allowed here: network and file system access.
"""
