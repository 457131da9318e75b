"""The store ``s3``: a bucket of AWS S3 or of a compatible service."""
