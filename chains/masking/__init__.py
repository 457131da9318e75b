"""Masking: what secrets look like, and where they are in a text. Pure.

May come in here: forms of tokens, names of secrets, options of programs. May not: the decision what is
masked.
"""
