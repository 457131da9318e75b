"""Names marked runs to an index, so that it knows their evidence at once.

May come in here: the queue of marked runs, the process that writes the index. May not: the database and
verification (:mod:`chains.index`, in that process). Nothing here may slow down or fail the work on a run.
"""
