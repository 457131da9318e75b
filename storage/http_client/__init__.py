"""HTTP client: one exchange, bounded in time and size; JSON services on top.

May not come in here: registries, and anything that one store alone needs.
"""
