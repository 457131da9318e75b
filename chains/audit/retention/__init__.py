"""Retention: how long evidence must be kept, how it is locked, and what was deleted with a record.

May come in here: rules as data, what they demand of a piece of evidence, the comparison with the locks that
stores tell, disposition records. May not: requests to a store that the port has no method for, printing.
"""
