"""Ways into Vault: token, token file, JWT login, SPIRE, environment; over the wire protocol of tests/testbed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from signers.base import Signer
from signers.errors import SignerRejected, SignerUnavailable
from signers.kms.service import KmsSettings
from signers.open import open_signer
from tests.testbed.key_services import OUTAGE
from tests.testbed.key_services.vault import Vault, vault
from tests.testbed.spire import spire_agent

VARIABLES = (
    "VAULT_ADDR",
    "BAO_ADDR",
    "VAULT_TOKEN",
    "BAO_TOKEN",
    "VAULT_NAMESPACE",
    "TRANSIT_SECRET_ENGINE_PATH",
)


@pytest.fixture(scope="module")
def running() -> Iterator[Vault]:
    with vault() as server:
        yield server


@pytest.fixture
def server(running: Vault, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Vault:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("signers.kms.service._FIRST_DELAY", 0.001)
    running.faults.clear()
    running.tokens, running.jwts, running.lease, running.logins = {"root-token"}, {"good-jwt"}, 3600, 0
    return running


def opened(server: Vault, **settings: Any) -> Signer:
    return open_signer(
        server.reference("ecdsa-p256"), settings=KmsSettings(address=server.address, **settings)
    )


def jwt_file(tmp_path: Path, text: str = "good-jwt\n") -> Path:
    path = tmp_path / "jwt"
    path.write_text(text)
    return path


def test_the_environment_is_enough(server: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", server.address + "/")
    monkeypatch.setenv("VAULT_TOKEN", "root-token")
    open_signer(server.reference("ecdsa-p256")).sign(b"data")


def test_openbao_is_the_same_with_variables_of_its_own(
    server: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAO_ADDR", server.address)
    monkeypatch.setenv("BAO_TOKEN", "root-token")
    open_signer(server.reference("ecdsa-p256").replace("hashivault", "openbao")).sign(b"data")


def test_the_token_of_the_home_folder_is_the_last_resort(server: Vault, tmp_path: Path) -> None:
    with pytest.raises(SignerRejected, match="no token"):
        opened(server)
    (tmp_path / ".vault-token").write_text("root-token\n")
    opened(server).sign(b"data")


def test_a_token_file_wins_over_a_token_and_is_read_again_when_it_changes(
    server: Vault, tmp_path: Path
) -> None:
    path = tmp_path / "token"
    path.write_text("root-token\n")
    signer = opened(server, token="wrong", token_path=str(path))
    server.tokens = {"second-token"}
    with pytest.raises(SignerRejected, match="permission denied") as caught:
        signer.sign(b"data")
    assert "root-token" not in str(caught.value)
    path.write_text("second-token\n")
    signer.sign(b"data")


def test_the_jwt_login_works_without_spire_and_serves_many_signatures(server: Vault, tmp_path: Path) -> None:
    signer = opened(server, oidc_path="jwt", oidc_role="chains", oidc_token_path=str(jwt_file(tmp_path)))
    for _ in range(3):
        signer.sign(b"data")
    assert server.logins == 1


def test_a_refused_token_leads_to_one_new_login_though_many_threads_meet_it(
    server: Vault, tmp_path: Path
) -> None:
    path = jwt_file(tmp_path)
    signer = opened(server, oidc_path="jwt", oidc_role="chains", oidc_token_path=str(path))
    server.tokens.clear()
    server.jwts = {"second-jwt"}
    path.write_text("second-jwt")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: signer.sign(b"data"), range(16)))
    assert server.logins == 2


def test_a_token_is_renewed_before_its_end(
    server: Vault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("signers.kms.vault_login.time.monotonic", lambda: now[0])
    server.lease = 60
    signer = opened(server, oidc_path="jwt", oidc_role="chains", oidc_token_path=str(jwt_file(tmp_path)))
    now[0] += 39
    signer.sign(b"data")
    assert server.logins == 1
    now[0] += 2
    signer.sign(b"data")
    assert server.logins == 2


@pytest.mark.parametrize(
    ("role", "jwt"), [("other", "good-jwt"), ("chains", "secret-but-wrong")], ids=["role", "jwt"]
)
def test_a_refused_login_is_told_without_the_jwt(server: Vault, tmp_path: Path, role: str, jwt: str) -> None:
    with pytest.raises(SignerRejected, match="jwt login at auth/jwt") as caught:
        opened(server, oidc_path="jwt", oidc_role=role, oidc_token_path=str(jwt_file(tmp_path, jwt)))
    assert jwt not in str(caught.value)


def test_files_that_are_missing_or_empty_are_named(server: Vault, tmp_path: Path) -> None:
    for settings in (
        {"token_path": str(tmp_path / "missing")},
        {"token_path": str(jwt_file(tmp_path, "\n"))},
        {"oidc_path": "jwt", "oidc_role": "chains", "oidc_token_path": str(tmp_path / "missing")},
        {"oidc_path": "jwt", "oidc_role": "chains", "oidc_token_path": str(jwt_file(tmp_path, ""))},
    ):
        with pytest.raises(SignerRejected, match=str(tmp_path)):
            opened(server, **settings)


@pytest.mark.parametrize("address", ["", "vault.example.com", "ftp://vault", "https://user:hunter2@vault"])
def test_an_address_that_cannot_be_used_is_refused(server: Vault, address: str) -> None:
    with pytest.raises(SignerRejected, match="address") as caught:
        open_signer("hashivault://key", settings=KmsSettings(address=address, token="t"))
    assert "hunter2" not in str(caught.value)


def test_nobody_at_the_address_is_unavailable(server: Vault) -> None:
    with pytest.raises(SignerUnavailable, match="ConnectionError"):
        open_signer("hashivault://key", settings=KmsSettings(address="http://127.0.0.1:9", token="t"))


@pytest.mark.parametrize(
    "reference", ["hashivault://?", "hashivault://a/b", "hashivault://s.token@key", "hashivault://../sys"]
)
def test_a_wrong_reference_is_not_repeated(server: Vault, reference: str) -> None:
    with pytest.raises(SignerRejected, match="expected hashivault://KEY") as caught:
        open_signer(reference, settings=KmsSettings(address=server.address, token="t"))
    assert reference not in str(caught.value)


def test_a_kind_of_key_that_cosign_cannot_verify_is_refused(server: Vault) -> None:
    reference = server.reference("ecdsa-p256")
    server.keys.algorithms[reference.removeprefix("hashivault://")] = "aes256-gcm96"
    with pytest.raises(SignerRejected, match="aes256-gcm96"):
        open_signer(reference, settings=KmsSettings(address=server.address, token="root-token"))


def test_spire_gives_the_jwt_and_wins(server: Vault, tmp_path: Path) -> None:
    socket = f"unix://{tmp_path}/agent.sock"
    with spire_agent(f"unix:{tmp_path}/agent.sock", "good-jwt") as asked:
        signer = opened(
            server,
            token="wrong",
            oidc_path="jwt",
            oidc_role="chains",
            spire_sock=socket,
            spire_audience="vault",
        )
        signer.sign(b"data")
    ((request, metadata),) = asked
    assert request == b"\x0a\x05vault"
    assert metadata["workload.spiffe.io"] == "true"


def test_spire_without_token_audience_or_agent_is_told(server: Vault, tmp_path: Path) -> None:
    settings = {"oidc_path": "jwt", "oidc_role": "chains", "spire_sock": f"unix://{tmp_path}/agent.sock"}
    with pytest.raises(SignerRejected, match=r"spire\.audience"):
        opened(server, **settings)
    with pytest.raises(SignerUnavailable, match="agent did not answer"):
        opened(server, **settings, spire_audience="vault")
    with (
        spire_agent(f"unix:{tmp_path}/agent.sock", ""),
        pytest.raises(SignerRejected, match="workload is registered"),
    ):
        opened(server, **settings, spire_audience="vault")
    with pytest.raises(SignerRejected, match="expected unix:///PATH"):
        opened(server, **settings | {"spire_sock": "/agent.sock"}, spire_audience="vault")


def test_nothing_of_the_settings_is_shown() -> None:
    assert "hunter2" not in repr(KmsSettings(token="hunter2"))


def test_an_outage_while_logging_in_is_waited_out(server: Vault, tmp_path: Path) -> None:
    server.faults.waiting = [OUTAGE]
    opened(server, oidc_path="jwt", oidc_role="chains", oidc_token_path=str(jwt_file(tmp_path))).sign(b"data")
    assert os.environ["HOME"] == str(tmp_path)
