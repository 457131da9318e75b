"""Verify: evidence and criteria in, one verification out.

Not allowed here: producing evidence; stores other than through their port.
"""
