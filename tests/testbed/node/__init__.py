"""A real single node: etcd, API server, scheduler, kubelet, containerd and Tekton, in namespaces of its own.

:func:`tests.testbed.node.cluster.node` starts it; :mod:`tests.e2e` says how a test uses it. Nothing of it is
left on the machine afterwards: its network, its mounts and its processes end with one process.
"""
