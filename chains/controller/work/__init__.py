"""Work: what is still to be done, in which order, and what waits for what.

May not come in here: how a run is read, attested or marked.
"""
