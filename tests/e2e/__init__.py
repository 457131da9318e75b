"""The shipped image under the shipped manifests, on a real node with Tekton: runs in, evidence out.

A case asks for the fixture ``node`` (:class:`tests.testbed.node.cluster.Node`), which one node serves for all::

    def test_a_sentence(node: Node) -> None:
        namespace = node.namespace("a-name-of-its-own")
        node.apply(namespace, YAML)                        # REGISTRY/busybox:1 has a shell and ``push``
        run = node.marked("TaskRun", namespace, "build")   # has ended, and carries the controller's mark
        assert mark_of(run) == "true"

- ``push`` builds, packs and sends images and looks at the network: ``tests/testbed/node/tools/push/main.go``.
- Hermetic steps must run as root, and need ``podTemplate: {env: [{name: TEKTON_RESOURCE_NAME, value: ""}]}``, as
  docs/execution-report.md says.
- Tekton has ``enable-api-fields: alpha``; the controller has the ConfigMap of ``deploy/base`` and plain HTTP.
  :meth:`Node.configured` changes keys of ``chains-config`` for the length of a block. With the store ``tekton``
  (``{"artifacts.taskrun.storage": "oci,tekton"}``) :meth:`Node.statements` has the evidence of runs without images.
- Pods have no name server and no way out of the machine. Nothing here enforces NetworkPolicies.
- ``tests/e2e/manifests.py`` writes runs and reads what their reports say. Several runs in one :meth:`Node.apply`, or
  in a fixture of the module, are ready in the time of one.
- Cases share the node: use a namespace of your own, and change nothing that is the cluster's.
- A failed wait tells the run's conditions, its pods and events and the controller's log; ``node.folder / "log"``
  has the logs of every process until the node ends.
"""
