"""Watch: what kopf lists and watches in the cluster becomes keys on the work list.

May not come in here: what is done with a run. kopf is imported by ``observe`` alone.
"""
