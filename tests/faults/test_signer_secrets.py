"""Every way in which a signer's configuration can fail, with a secret in it: one error, and no secret anywhere.

The services echo what they were sent, headers and all, as proxies in a debugging mood do. Looked through is all
that a user or an administrator can see: both streams of the commands, the log, the Event, the reason of
``/readyz``, and the error with all its causes as a traceback prints it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from chains.cli.main import run as chains
from chains.controller.flow import build_flow
from chains.controller.reload import Reloader
from chains.errors import ChainsError
from signers.keys.keyfile import generate_key, write_key_pair
from tests.integration.test_key_services import RUN, OneConfigMap
from tests.testbed.loopback import Answer, Request, serving
from tests.testbed.sigstore_keys import make_keys, trusted_root

CANARY = "canary4711secret"
NOWHERE = "127.0.0.1:9"
KMS = {f"artifacts.{artifact}.signer": "kms" for artifact in ("taskrun", "pipelinerun", "oci")}
KEYLESS = {"signers.x509.fulcio.enabled": "true", "transparency.enabled": "true"}
ARN = "awskms:///arn:aws:kms:eu-west-1:111122223333:alias/chains"


class Place(NamedTuple):
    """What a case is made of: a folder, the echoing service, and the environment."""

    folder: Path
    echo: str
    environment: pytest.MonkeyPatch

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def root(self) -> str:
        places = ("http://x",) * 4
        return self.write("root.json", json.dumps(trusted_root(make_keys(), *places)))


def jwt(subject: str = "somebody") -> str:
    parts = ({"alg": "none"}, {"iss": "http://issuer", "sub": subject, "exp": 4102444800})
    encoded = [b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, CANARY])


def vault(place: Place, **settings: str) -> dict[str, str]:
    auth = {
        f"signers.kms.auth.{name.replace('__', '.').replace('_', '-')}": settings[name] for name in settings
    }
    return {**KMS, "signers.kms.kmsref": "hashivault://key", "signers.kms.auth.address": place.echo, **auth}


def vault_environment(place: Place) -> dict[str, str]:
    place.environment.setenv("VAULT_TOKEN", CANARY)
    return vault(place)


def pkcs11(place: Place, reference: str, pin: str = "") -> dict[str, str]:
    if pin:
        place.environment.setenv("CHAINS_PKCS11_PIN", pin)
    return {**KMS, "signers.kms.kmsref": reference}


def aws(place: Place, address: str) -> dict[str, str]:
    place.environment.setenv("AWS_ENDPOINT_URL_KMS", address)
    place.environment.setenv("AWS_ACCESS_KEY_ID", "tests")
    place.environment.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    return {**KMS, "signers.kms.kmsref": ARN}


def keyless(place: Place, **more: str) -> dict[str, str]:
    given = {
        **KEYLESS,
        "signers.x509.trusted-root": place.root(),
        "signers.x509.fulcio.address": place.echo,
        "signers.x509.identity.token.file": place.write("token", jwt()),
    }
    return given | {name.replace("__", "-").replace("_", "."): value for name, value in more.items()}


def github(place: Place) -> dict[str, str]:
    place.environment.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{place.echo}/?api=1")
    place.environment.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", CANARY)
    return keyless(place, signers_x509_fulcio_provider="github", signers_x509_identity_token_file="")


def key_file(place: Place, name: str, text: str, password: str = "") -> dict[str, str]:
    (place.folder / "keys" / "x509.pem").unlink()
    place.write(f"keys/{name}", text)
    if password:
        place.write("keys/cosign.password", password)
    return {}


def encrypted_key(place: Place) -> dict[str, str]:
    content = {
        "kdf": {"name": "scrypt", "params": {"N": 2, "r": 8, "p": 1}, "salt": b64encode(b"s" * 32).decode()},
        "cipher": {"name": "nacl/secretbox", "nonce": b64encode(b"n" * 24).decode()},
        "ciphertext": b64encode(b"c" * 64).decode(),
    }
    body = b64encode(json.dumps(content).encode()).decode()
    label = "ENCRYPTED SIGSTORE PRIVATE KEY"
    return key_file(place, "cosign.key", f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n", CANARY)


def extra(reference: str) -> dict[str, str]:
    one = {"name": "team", "reference": reference, "namespaces": ["team"], "instead": True}
    return {"signers.extra": json.dumps([one])}


CASES: dict[str, Callable[[Place], dict[str, str]]] = {
    "vault token": lambda place: vault(place, token=CANARY),
    "vault token file": lambda place: vault(place, token_path=place.write("vault-token", CANARY)),
    "vault token in the environment": vault_environment,
    "vault jwt": lambda place: vault(
        place, oidc__path="jwt", oidc__role="chains", oidc__token_path=place.write("jwt", jwt())
    ),
    "vault out of reach": lambda place: vault(place, token=CANARY, address=f"http://{NOWHERE}"),
    "vault address": lambda place: vault(place, token="t", address=f"http://user:{CANARY}@{NOWHERE}"),
    "vault reference": lambda _: {**KMS, "signers.kms.kmsref": f"hashivault://{CANARY}@key"},
    "unknown scheme": lambda _: {**KMS, "signers.kms.kmsref": f"othervault://{CANARY}"},
    "no scheme": lambda _: {**KMS, "signers.kms.kmsref": f"{CANARY}/key"},
    "aws refuses": lambda place: aws(place, place.echo),
    "aws out of reach": lambda place: aws(place, f"http://{NOWHERE}"),
    "aws reference": lambda _: {**KMS, "signers.kms.kmsref": f"awskms://user:{CANARY}@host/alias/key"},
    "azure reference": lambda _: {**KMS, "signers.kms.kmsref": f"azurekms://user:{CANARY}@vault/key"},
    "google reference": lambda _: {**KMS, "signers.kms.kmsref": f"gcpkms://{CANARY}"},
    "pin in the reference": lambda place: pkcs11(place, f"pkcs11:object=o?pin-value={CANARY}"),
    "no module": lambda place: pkcs11(place, "pkcs11:object=o?module-path=/no/such.so", CANARY),
    "key file": lambda place: key_file(place, "x509.pem", f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n"),
    "password": encrypted_key,
    "identity token": keyless,
    "no identity token": lambda place: keyless(
        place, signers_x509_identity_token_file=place.write("other", CANARY)
    ),
    "github": github,
    "fulcio url": lambda place: keyless(
        place, signers_x509_fulcio_address=f"http://user:{CANARY}@{NOWHERE}"
    ),
    "tuf url": lambda place: keyless(
        place, signers_x509_trusted__root="", signers_x509_tuf_mirror_url=f"http://user:{CANARY}@{NOWHERE}",
        signers_x509_tuf_root=place.write("tuf.json", "{}"),
    ),
    "extra reference": lambda _: extra(f"hashivault://{CANARY}@key"),
    "extra key": lambda place: extra(place.write("team.key", f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n")),
    "extra key's text": lambda _: extra(f"-----BEGIN PRIVATE KEY-----\n{CANARY}"),
}  # fmt: skip


ANSWERED = {"vault token", "vault jwt", "aws refuses", "identity token", "github"}
"""Those that the service answers; a refusal and an outage go different ways."""


@pytest.fixture(scope="module")
def echo() -> Iterator[Callable[[int], str]]:
    status = [403]

    def answer(request: Request) -> Answer:
        # first of all what is secret: only the start of an answer is shown
        headers = sorted(request.headers.items(), key=lambda item: CANARY not in item[1])
        body = request.body.decode(errors="replace")
        said = json.dumps([body, *headers] if CANARY in body else headers)
        content: dict[str, Any] = {"errors": [said], "message": said, "code": 16, "__type": said}
        return Answer(status[0], content)

    with serving(answer) as url:

        def at(wanted: int) -> str:
            status[0] = wanted
            return url

        yield at


@pytest.mark.parametrize(
    ("name", "status"),
    [(name, status) for name in CASES for status in ((400, 403, 500) if name in ANSWERED else (0,))],
)
def test_what_fails_is_one_error_without_the_secret(
    name: str,
    status: int,
    echo: Callable[[int], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("signers.kms.service._FIRST_DELAY", 0.001)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for variable in ("VAULT_ADDR", "VAULT_TOKEN", "BAO_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    caplog.set_level(logging.INFO)
    keys = tmp_path / "keys"
    keys.mkdir()
    write_key_pair(keys / "x509.pem", generate_key())
    data = CASES[name](Place(tmp_path, echo(status or 403), monkeypatch))
    (tmp_path / "config.json").write_text(json.dumps(data))
    seen = []

    cluster = OneConfigMap(data)
    reloader = Reloader(cluster, "tekton-chains", keys)
    asyncio.run(reloader.look())
    assert reloader.refused, "the controller is not ready"
    assert len(cluster.events) == 1
    seen += [reloader.refused, *cluster.events]
    with pytest.raises(ChainsError) as caught:
        build_flow(data, keys)
    seen += traceback.format_exception(caught.value)

    commands = [
        ["config", "lint", "config.json"],
        ["doctor", "--config", "config.json", "--signing-secrets", "keys"],
    ]
    if name not in {"key file", "password"}:  # the commands have a key of their own
        attest = ["attest", RUN, "--config", "config.json", "--store", "file:evidence"]
        commands += [attest, [*attest, "--output", "json"]]
    if "://" in (reference := data.get("signers.kms.kmsref", "")):
        commands += [["keys", "public", reference, "--config", "config.json"]]
        commands += [
            ["verify", RUN, "--key", reference, "--config", "config.json", "--store", "file:evidence"]
        ]
    for command in commands:
        code = chains(command)
        assert command[0] in {"config", "doctor"} or code == 2, command
    assert not (tmp_path / "evidence").exists() or not list((tmp_path / "evidence").rglob("*.json"))
    captured = capsys.readouterr()
    seen += [captured.out, captured.err, caplog.text, *(repr(record.__dict__) for record in caplog.records)]
    for text in seen:
        assert CANARY not in text
