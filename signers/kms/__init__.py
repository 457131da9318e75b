"""Keys that never leave their service or device.

May come in here: one module for each service or device; ``service`` has what all of them share. May not:
certificates and logs.
"""
