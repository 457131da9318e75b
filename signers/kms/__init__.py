"""Keys that never leave their key service or device.

Allowed here: one module per service or device; ``service`` has what they share. Not allowed: certificates and
transparency logs.
"""
