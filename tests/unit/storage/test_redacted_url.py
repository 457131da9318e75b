"""No error prints what a URL should not have had in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from chains.cli.main import run as chains
from storage.base import StoreOptions
from storage.errors import StoreRejected
from storage.open import STORES, open_store
from storage.redacted_url import shown

PASSWORD = "hunter2-of-the-store"
HOSTS = (
    "{scheme}://user:{secret}@host.example/place/more",
    "{scheme}://user:{secret}/with/slashes@host.example/place",
    "{scheme}://{secret}@host.example/place",
    "{scheme}:user:{secret}@host.example/place",
    "{scheme}:https://user:{secret}@host.example",
    "{scheme}://UPPER/x?secret-access-key={secret}&other=1",
    "{scheme}://UPPER/x?sasl.password={secret}",
    "{scheme}://UPPER/x?X-Amz-Signature={secret}",
)


def refusal(url: str) -> str:
    try:
        open_store(url, StoreOptions(mongo_server_url="mongodb://127.0.0.1:9"))
    except StoreRejected as error:
        return str(error)
    return ""


@pytest.mark.parametrize("scheme", [*(name for name in STORES if name not in {"file", "oci-layout"}), "s4", "postgres"])  # fmt: skip
@pytest.mark.parametrize("form", HOSTS)
def test_no_refusal_prints_a_password(
    scheme: str,
    form: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    url = form.format(scheme=scheme, secret=PASSWORD)
    assert PASSWORD not in refusal(url)
    for words in (["get", "--store", url], ["copy", url, "file:b"], ["copy", "file:a", url], ["verify", "x", "--store", url]):  # fmt: skip
        assert chains([*words, "--output", "json"]) != 0
        written = capsys.readouterr()
        assert PASSWORD not in written.out + written.err
        assert json.loads(written.out or "{}") is not None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("oci://registry.example:5000/app@sha256:" + "a" * 64, None),
        ("s3://bucket/prefix?sse-kms-key-id=arn:aws:kms:x&region=eu", None),
        ("dynamodb://table?partition_key=Name", None),
        ("file:///home/a:b@c/store", None),
        ("oci-layout:me:too@here", None),
        ("mongo://u:p%40x@h/c?id_field=Name", "mongo://***@h/c?id_field=Name"),
        ("kafka://h:1/t?sasl_password=x&y=z", "kafka://h:1/t?sasl_password=***&y=z"),
    ],
)
def test_what_is_no_secret_stays(url: str, expected: str | None) -> None:
    assert shown(url) == (expected or url)
