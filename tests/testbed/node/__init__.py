"""A real single node: etcd, API server, scheduler, kubelet, containerd and Tekton, in its own namespaces.

:func:`tests.testbed.node.cluster.node` starts it; :mod:`tests.e2e` says how a test uses it. Nothing remains
on the machine afterwards: its network, mounts and processes end with one process.
"""
