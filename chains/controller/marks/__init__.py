"""Marks: what the controller writes to a run, and when.

May come in here: the mark, finalizers, notes, as patches and as requests. May not: what decides an outcome.
"""
