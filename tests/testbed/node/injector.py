"""A mutating admission webhook beside the node that changes pods as meshes and agents of clusters do."""

from __future__ import annotations

import base64
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.testbed.node.control_plane import Services

NAME, LABEL = "injector", "tests.example/inject"
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
Json = Any
Change = Callable[[Json], list[Json]]
"""A function from a pod to the JSON patch that is put into it (RFC 6902)."""


@contextmanager
def injector(services: Services, changes: Mapping[str, Change]) -> Iterator[list[str]]:
    """Register a webhook for the length of the block; yields the names of pods that it was asked about.

    A pod is changed by the one of ``changes`` that its label :data:`LABEL` names. The API server asks about no other.
    """
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            pod = review["request"]["object"]
            patch = changes[pod["metadata"]["labels"][LABEL]](pod)
            asked.append(pod["metadata"]["name"])
            answer = {
                "uid": review["request"]["uid"], "allowed": True, "patchType": "JSONPatch",
                "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
            }  # fmt: skip
            body = json.dumps({**review, "response": answer}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    address = services.network.host
    files = services.authority.issue(NAME, NAME, hosts=[address])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    server = ThreadingHTTPServer((address, 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        services.api.request("POST", CONFIGURATIONS, _registration(services, server.server_port))
        try:
            yield asked
        finally:
            services.api.request("DELETE", f"{CONFIGURATIONS}/{NAME}")
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _registration(services: Services, port: int) -> Json:
    ca = base64.b64encode(services.authority.ca_file.read_bytes()).decode()
    webhook = {
        "name": f"{NAME}.tests.example", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": {"url": f"https://{services.network.host}:{port}/", "caBundle": ca},
        "objectSelector": {"matchExpressions": [{"key": LABEL, "operator": "Exists"}]},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}],
    }  # fmt: skip
    return {"metadata": {"name": NAME}, "webhooks": [webhook]}
