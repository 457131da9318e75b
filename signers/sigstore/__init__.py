"""Sigstore: certificates, transparency logs, timestamps and trusted roots; requested and verified.

Not allowed here: keys of key services, stores.
"""
