"""Verify: evidence and criteria in, one verification out.

May not come in here: producing evidence; stores other than through their port.
"""
