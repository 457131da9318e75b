"""Config: ``chains-config`` as one frozen tree, every key in one table, and lint.

May not come in here: opening anything that a configuration names.
"""
