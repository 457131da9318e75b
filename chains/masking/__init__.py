"""Masking: what secrets look like, and where they are in a text. Pure.

May come in here: forms of tokens, names of what holds a secret, options of programs. May not: what is masked.
"""
