"""The store ``grafeas``: Google's Container Analysis, or a grafeas server."""
