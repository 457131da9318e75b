"""The keys ``storage.s3.*``: from ConfigMap to store, and what lint has to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from chains.assembly.stores import open_configured, open_stores
from chains.assembly.workspace import load_settings
from chains.attest.stores import ClosedStore
from chains.config.parse import lint_config, parse_config
from chains.errors import ConfigError
from storage.annotations import AnnotationStore
from storage.base import StoreOptions
from storage.s3.settings import Lock, parse_s3_url
from storage.s3.store import S3Store

GOOD = {
    "artifacts.taskrun.storage": "s3", "artifacts.pipelinerun.storage": "s3", "artifacts.oci.storage": "s3",
    "storage.s3.bucket": "evidence", "storage.s3.prefix": "chains/", "storage.s3.region": "eu-central-1",
    "storage.s3.endpoint": "https://s3.example.com", "storage.s3.addressing-style": "path",
    "storage.s3.ca-file": "/etc/ca.pem", "storage.s3.sse": "aws:kms", "storage.s3.sse-kms-key-id": "arn:x/y&z=1",
    "storage.s3.object-lock.mode": "governance", "storage.s3.object-lock.retain-days": "prod-*=30,*=7",
    "storage.s3.object-lock.legal-hold": "legal-*", "storage.s3.snapshots": "false",
}  # fmt: skip


def test_every_key_reaches_the_store() -> None:
    assert lint_config(GOOD) == []
    settings = parse_s3_url(parse_config(GOOD).storage.s3.url)
    assert (settings.bucket, settings.prefix, settings.region) == ("evidence", "chains", "eu-central-1")
    assert (settings.endpoint, settings.addressing_style) == ("https://s3.example.com", "path")
    assert (settings.ca_file, settings.sse, settings.sse_kms_key_id) == (
        "/etc/ca.pem",
        "aws:kms",
        "arn:x/y&z=1",
    )
    assert settings.lock_for("prod-shop") == Lock("GOVERNANCE", 30, False)
    assert settings.lock_for("legal-7") == Lock("GOVERNANCE", 7, True)
    assert settings.snapshots == "false"


@pytest.mark.parametrize(
    ("changes", "key", "words"),
    [
        ({"storage.s3.bucket": ""}, "storage.s3.bucket", "is missing, but"),
        ({"storage.s3.bucket": "a/b"}, "storage.s3", "is not the name of a bucket"),
        ({"storage.s3.object-lock.mode": ""}, "storage.s3.object-lock.mode", "governance"),
        ({"storage.s3.object-lock.retain-days": "x"}, "storage.s3", "expected DAYS"),
        (
            {"storage.s3.object-lock.mode": "compliance"},
            "storage.s3.object-lock.mode",
            "nobody can shorten the retention",
        ),
        ({"storage.s3.sse": "AES256"}, "storage.s3", "sse-kms-key-id needs sse aws:kms"),
        ({"storage.s3.endpoint": "http://s3.example.com"}, "storage.s3.endpoint", "plain http"),
        (
            {f"artifacts.{name}.storage": "oci" for name in ("taskrun", "pipelinerun", "oci")},
            "storage.s3.bucket",
            "has no effect: no enabled artifact is stored in s3",
        ),
    ],
)
def test_lint_tells_what_is_wrong(changes: dict[str, str], key: str, words: str) -> None:
    found = [str(problem) for problem in lint_config(GOOD | changes)]
    assert any(one.startswith(f"{key}:") and words in one for one in found), found


def test_the_controller_and_the_command_line_open_it(tmp_path: Path) -> None:
    annotations = AnnotationStore("tekton:", StoreOptions())
    (store,) = open_configured(parse_config(GOOD), annotations)["s3"]
    assert isinstance(store, S3Store)
    assert store.url == "s3://evidence/chains"
    (closed,) = open_configured(parse_config(GOOD | {"storage.s3.bucket": ""}), annotations)["s3"]
    assert isinstance(closed, ClosedStore)
    assert "s3://BUCKET" in closed.reason
    path = tmp_path / "config.json"
    path.write_text("{" + ",".join(f'"{name}":"{value}"' for name, value in GOOD.items()) + "}")
    (store,) = open_stores([], load_settings(str(path))).chosen(["s3"])
    assert isinstance(store, S3Store)


def test_without_it_nothing_of_it_is_asked_for() -> None:
    assert "s3" not in open_configured(parse_config({}), AnnotationStore("tekton:", StoreOptions()))
    with pytest.raises(ConfigError, match="expected one of"):
        parse_config({"storage.s3.sse": "rot13"})
