"""The store ``s3``: a bucket of AWS or of a compatible service."""
