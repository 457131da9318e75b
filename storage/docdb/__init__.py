"""The store ``docdb``: the store itself, and one module for each database."""
