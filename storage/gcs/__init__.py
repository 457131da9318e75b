"""The store ``gcs``: a bucket of Google Cloud Storage.

Not allowed here: what other Google services need too (:mod:`storage.google`).
"""
