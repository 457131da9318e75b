"""Sigstore: certificates, logs, timestamps, trusted roots: made, asked for, verified.

May not come in here: keys of services, stores.
"""
