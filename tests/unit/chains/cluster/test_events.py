"""Events about objects whose names somebody chose."""

from __future__ import annotations

import re

import pytest

from chains.cluster.events import event_of, prefix_of

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
"""What Kubernetes demands of the name of an Event (k8s.io/apimachinery, ``IsDNS1123Subdomain``)."""


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("web-7d4b", "web-7d4b"),
        ("web.v1", "web.v1"),
        ("a" * 300, "a" * 200),
        ("web-", "web"),
        ("", "object"),
        ("Web", "object"),
        ("../../secrets", "object"),
        ("a..b", "object"),
        ("a\n", "object"),
        ("\u0664", "object"),
    ],
)
def test_the_api_server_takes_the_name_of_an_event_whatever_the_object_is_called(
    name: str, prefix: str
) -> None:
    assert prefix_of(name) == prefix
    about = {"kind": "ReplicaSet", "namespace": "shop", "name": name}
    generated = event_of(about, "Reason", "message")["metadata"]["generateName"]
    assert SUBDOMAIN.fullmatch(f"{generated}x1y2z")
