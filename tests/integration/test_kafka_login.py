"""The store ``kafka`` against a broker with TLS and logins."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chains.assembly.stores import STORE_URLS
from chains.config.lint import lint_config
from chains.config.parse import parse_config
from storage.base import Probe, StoreOptions
from storage.errors import StoreRejected
from storage.kafka.settings import PASSWORD_VARIABLE, kafka_url
from storage.open import open_store
from storage.record import Stored
from tests.testbed.certificates import Certificates, make_certificates
from tests.testbed.kafka_broker import USER, kafka_broker
from tests.unit.storage import records

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("kafka_program")]
PASSWORD = "open-sesame-4711"
START = "storage.pubsub.kafka."


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("kafka-certificates"))


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return path


def keys(servers: str, **more: str) -> dict[str, str]:
    return {
        "artifacts.taskrun.storage": "kafka", "storage.pubsub.provider": "kafka", "storage.pubsub.topic": "evidence",
        START + "bootstrap.servers": servers, **{START + name: value for name, value in more.items()},
    }  # fmt: skip


def put(data: dict[str, str], seconds: float = 10.0) -> tuple[Stored, Probe]:
    """Store one record as the configuration says, and ask as the doctor does."""

    async def work() -> tuple[Stored, Probe]:
        url = STORE_URLS["kafka"](parse_config(data))
        assert PASSWORD not in url
        async with open_store(url, StoreOptions(timeout=seconds)) as store:
            stored = await store.put(records.attestation(records.subject()))
            (probe,) = await store.probe()
            return stored, probe

    return asyncio.run(work())


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_login_over_tls_is_taken(mechanism: str, certificates: Certificates, password_file: Path, tmp_path: Path) -> None:  # fmt: skip
    with kafka_broker(tmp_path, certificates=certificates, mechanism=mechanism, password=PASSWORD) as servers:
        login = {"security.protocol": "sasl_ssl", "ssl.ca-file": str(certificates.ca_file), "sasl.username": USER,
                 "sasl.mechanism": mechanism, "sasl.password-path": str(password_file)}  # fmt: skip
        data = keys(servers, **login)
        assert not [one for one in lint_config(data) if one.key.startswith(START)]
        stored, probe = put(data)
        assert [one.location for one in stored.receipts] == [f"kafka://{servers}/evidence#0@0"]
        assert probe.state == "ok"


def test_a_wrong_password_is_a_failure_that_says_so(password_file: Path, tmp_path: Path) -> None:
    password_file.write_text("wrong-" + PASSWORD)
    login = {"security.protocol": "sasl_plaintext", "sasl.username": USER, "sasl.password-path": str(password_file)}  # fmt: skip
    with kafka_broker(tmp_path, mechanism="SCRAM-SHA-512", password=PASSWORD) as servers:
        stored, probe = put(keys(servers, **login), 1.5)
        (failure,) = stored.failures
        assert "the broker refused the login" in failure.reason
        assert probe.state == "failed"
        assert "the broker refused the login" in probe.detail
        assert PASSWORD not in failure.reason + probe.detail


def test_a_broker_that_wants_a_certificate_gets_it(certificates: Certificates, tmp_path: Path) -> None:
    with kafka_broker(tmp_path, certificates=certificates, asks_for_certificate=True) as servers:
        tls = {"security.protocol": "ssl", "ssl.ca-file": str(certificates.ca_file)}
        own = {"ssl.cert-file": str(certificates.cert_file), "ssl.key-file": str(certificates.key_file)}
        assert put(keys(servers, **tls, **own))[0].receipts
        (failure,) = put(keys(servers, **tls), 1.5)[0].failures
        assert "TLS failed" in failure.reason


def test_a_broker_that_nobody_vouches_for_gets_nothing(certificates: Certificates, tmp_path: Path) -> None:
    with kafka_broker(tmp_path, certificates=certificates) as servers:
        (failure,) = put(keys(servers, **{"security.protocol": "ssl"}), 1.5)[0].failures
    assert "TLS failed: check storage.pubsub.kafka.ssl.ca-file" in failure.reason
    assert not failure.transient


def test_a_rotated_password_is_taken_over_without_a_restart(password_file: Path, tmp_path: Path) -> None:
    password_file.write_text("the-old-one")
    settings = {"security-protocol": "sasl_plaintext", "sasl-username": USER, "sasl-password-path": str(password_file)}  # fmt: skip
    with kafka_broker(tmp_path, mechanism="SCRAM-SHA-512", password=PASSWORD) as servers:

        async def work() -> None:
            url = kafka_url(servers, "evidence", settings)
            async with open_store(url, StoreOptions(timeout=1.5)) as store:
                assert (await store.put(records.attestation())).failures
                await asyncio.to_thread(password_file.write_text, PASSWORD)
                assert (await store.put(records.attestation())).receipts
                await asyncio.to_thread(password_file.unlink)
                assert (await store.put(records.attestation())).receipts

        asyncio.run(work())


def test_the_password_may_be_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kafka_broker(tmp_path, mechanism="PLAIN", password=PASSWORD) as servers:
        data = keys(servers, **{"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN", "sasl.username": USER})  # fmt: skip
        monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
        assert PASSWORD_VARIABLE in put(data)[0].failures[0].reason
        monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
        assert put(data)[0].receipts


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("security-protocol=tls", "expected one of plaintext"),
        ("security-protocol=sasl_ssl", "needs sasl-username"),
        ("sasl-username=x", "settings need security-protocol sasl_ssl"),
        ("ca-file=/x", "need security-protocol ssl"),
        ("security-protocol=ssl&cert-file=/x", "must be set together"),
        ("security-protocol=sasl_ssl&sasl-username=x&sasl-mechanism=GSSAPI", "expected one of PLAIN"),
        (f"sasl-password={PASSWORD}", "unknown setting 'sasl-password'"),
    ],
)
def test_settings_that_mean_nothing_are_refused(query: str, words: str) -> None:
    with pytest.raises(StoreRejected, match=words) as told:
        open_store(f"kafka://host:1/topic?{query}")
    assert PASSWORD not in str(told.value)


def test_lint_says_what_the_store_would() -> None:
    problems = lint_config(keys("host:1", **{"security.protocol": "sasl_ssl"}))
    assert [one.message for one in problems if one.key == "storage.pubsub.kafka"] == [
        "security-protocol sasl_ssl needs sasl-username"
    ]
