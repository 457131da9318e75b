"""Crashes: which runs were in work when the process ended, and how they are tried one at a time.

May not come in here: how a run is attested.
"""
