"""Memory: what the controller remembers of the cluster, each within a bound and fair to namespaces.

May not come in here: anything that must survive a restart; the cluster and the journal have that.
"""
