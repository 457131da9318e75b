"""The store ``gcs``: a bucket of Google Cloud Storage."""
