"""The commands that show whether evidence is complete.

Not allowed here: rules, formats, I/O of their own.
"""
