"""Revocation: the signed list of what no longer counts, read so that it can neither be lost nor go back.

Not allowed here: what evidence says, where keys come from.
"""
