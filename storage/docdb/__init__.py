"""The store ``docdb``: the store, and one module or package per database.

Allowed here: documents of a collection and how each database reads and writes them. Not allowed: other
stores.
"""
