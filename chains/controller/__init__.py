"""Controller: one process that attests what ends in a cluster: watch, order, reconcile, mark, reload.

May not come in here: anything that the command line needs without a cluster.
"""
