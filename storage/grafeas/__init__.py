"""The store ``grafeas``: Container Analysis."""
