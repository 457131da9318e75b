"""Work: which runs are still to be looked at, in which order, and what they wait for.

May not come in here: how a run is read, attested or marked.
"""
