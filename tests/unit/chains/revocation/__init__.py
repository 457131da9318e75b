"""Revocation lists."""
