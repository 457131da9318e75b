"""Completeness: which runs finished, and which of them have evidence that verifies now.

Not allowed here: how evidence is verified; how it is stored; printing.
"""
