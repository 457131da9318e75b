"""What ``chains doctor`` says of the process's surroundings; tests/integration/test_bare_process.py takes them away."""

from __future__ import annotations

import asyncio
import os

import pytest

from chains.doctor.process import check_names, check_process
from chains.doctor.report import DoctorCheck

NOT_A_NAME = "a" * 70 + ".example"
"""A label is too long: no name server is asked."""


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def names(data: dict[str, str], *others: str) -> DoctorCheck:
    return asyncio.run(check_names(data, others))


def test_addresses_and_other_settings_are_not_looked_up() -> None:
    data = {
        "storage.oci.repository": "10.0.0.7:5000/evidence",
        "transparency.url": "https://192.0.2.1",
        "signers.kms.kmsref": "gcpkms://projects/p/locations/l",
        "artifacts.taskrun.storage": "oci",
    }
    check = names(data, "https://10.0.0.1:443", "https://[fd00::1]:6443", "")
    assert (check.state, check.detail) == ("ok", "no name needs to be resolved")


@pytest.mark.parametrize(
    ("data", "other"),
    [
        ({"transparency.url": "https://localhost:3000"}, ""),
        ({"storage.oci.repository": "localhost:5000/evidence"}, ""),
        ({"storage.oci.repository": "oci://localhost/evidence"}, ""),
        ({}, "https://localhost:5000/team/app"),
    ],
)
def test_urls_and_registries_are_looked_up(data: dict[str, str], other: str) -> None:
    check = names(data, other)
    assert (check.state, check.detail) == ("ok", "resolves localhost")


def test_a_name_without_an_address_is_told_with_the_next_step() -> None:
    check = names({"transparency.url": f"https://{NOT_A_NAME}"})
    assert check.state == "failed"
    assert check.detail == f"no address for {NOT_A_NAME} (UnicodeError)"
    assert "dnsPolicy" in check.next_step


def test_behind_a_proxy_a_name_without_an_address_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert names({"transparency.url": f"https://{NOT_A_NAME}"}).state == "warning"


def test_root_needs_not_be_in_a_pod() -> None:
    user = check_process(None, in_pod=True)[0]
    assert user.state == ("warning" if os.geteuid() == 0 else "ok")
    assert ("as uid 65532" in user.next_step) == (os.geteuid() == 0)
    assert check_process(None, in_pod=False)[0].state == "ok"
