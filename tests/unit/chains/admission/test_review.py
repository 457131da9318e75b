"""AdmissionReviews, real ones and hostile ones: nothing that cannot be read becomes an allowed request."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from chains.admission.review import Answer, MalformedReview, read_review, seconds_of
from tests.unit.chains.admission.made import REF, pod, request, review, review_bytes

Json = Any


def test_a_request_is_read() -> None:
    found = review(pod(REF), dryRun=True, subResource="ephemeralcontainers", operation="UPDATE")
    assert (found.group, found.kind, found.namespace, found.name) == ("", "Pod", "shop", "web")
    assert (found.operation, found.subresource, found.is_dry_run) == ("UPDATE", "ephemeralcontainers", True)
    assert found.object == pod(REF)
    assert found.shown == "Pod shop/web"


def test_an_object_without_a_name_is_shown_by_what_its_name_will_begin_with() -> None:
    item = pod(REF)
    item["metadata"] = {"generateName": "web-"}
    assert review(item, name="").shown == "Pod shop/web-…"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'"AdmissionReview"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        review_bytes(request(pod(REF)), apiVersion="admission.k8s.io/v1beta1"),
        review_bytes(request(pod(REF)), kind="Pod"),
        review_bytes(None),
        review_bytes([]),
        *(
            review_bytes({**request(pod(REF)), **wrong})
            for wrong in (
                {"uid": ""},
                {"uid": 5},
                {"uid": "u" * 257},
                {"kind": None},
                {"kind": "Pod"},
                {"kind": {"group": "", "kind": ""}},
                {"kind": {"group": ["apps"], "kind": "Deployment"}},
                {"operation": "create"},
                {"operation": None},
                {"operation": ["CREATE"]},
                {"namespace": {"name": "shop"}},
                {"namespace": "n" * 513},
                {"name": 1},
                {"subResource": ["status"]},
                {"dryRun": "true"},
                {"dryRun": 0},
            )
        ),
        review_bytes({**request(pod(REF)), "object": [0] * 1_600_000}),
    ],
)
def test_what_is_no_review_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedReview):
        read_review(data)


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        ("5s", 4.5), ("1s", 0.5), ("30s", 29.5), ("1500ms", 1.0), ("2.5s", 2.0), ("1m", 29.5), ("100s", 29.5),
        ("", 9.5), ("s", 9.5), ("5", 9.5), ("-5s", 9.5), ("1e9s", 9.5), ("99999s", 9.5), ("\u0665s", 9.5), ("0s", 0.1), ("100ms", 0.1),
    ],
)  # fmt: skip
def test_an_answer_is_due_half_a_second_before_the_time_that_the_api_server_waits(
    query: str, seconds: float
) -> None:
    assert seconds_of(query) == pytest.approx(seconds)


def test_a_denial_has_a_status_and_no_patch() -> None:
    answer = Answer(
        allowed=False, message="no", warnings=["w"], annotations={"decision": "deny"}, patch=b"[]"
    )
    assert json.loads(answer.to_bytes("u-1")) == {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": "u-1",
            "allowed": False,
            "status": {"code": 403, "reason": "Forbidden", "message": "no"},
            "warnings": ["w"],
            "auditAnnotations": {"decision": "deny"},
        },
    }


def test_an_allowing_answer_has_patch_and_patch_type_or_neither() -> None:
    assert json.loads(Answer(allowed=True).to_bytes("u-1"))["response"] == {"uid": "u-1", "allowed": True}
    patched = json.loads(Answer(allowed=True, patch=b'[{"op":"test"}]').to_bytes("u-1"))["response"]
    assert patched["patchType"] == "JSONPatch"
    assert base64.b64decode(patched["patch"]) == b'[{"op":"test"}]'
