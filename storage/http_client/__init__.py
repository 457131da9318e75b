"""The HTTP client: one exchange with limits on time and size, and JSON services on top.

Not allowed here: registries, and what only one store needs.
"""
