"""Identity tokens from each provider, asked as its documentation says, against a local endpoint."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from signers.errors import SignerRejected, SignerUnavailable
from signers.sigstore import identity_token
from signers.sigstore.identity_token import IdentityToken, TokenSource
from tests.testbed.loopback import Answer, Request, serving

VARIABLES = (
    "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "SPIFFE_ENDPOINT_SOCKET", "SIGSTORE_ID_TOKEN",
    "BUILDKITE_JOB_ID", "BUILDKITE_AGENT_ACCESS_TOKEN", "GOOGLE_SERVICE_ACCOUNT_NAME", "GCE_METADATA_HOST",
)  # fmt: skip


def jwt(subject: str = "me", **claims: Any) -> str:
    content = {"iss": "https://issuer", "sub": subject, "exp": int(time.time()) + 60, **claims}
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, content))
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts) + ".c2ln"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def endpoint() -> Iterator[tuple[str, list[Request], dict[str, Any]]]:
    """A URL, what was asked there, and the answers by path."""
    seen: list[Request] = []
    answers: dict[str, Any] = {}

    def answer(request: Request) -> Answer:
        seen.append(request)
        path = request.path.partition("?")[0]
        if path not in answers:
            return Answer(404, {"message": "no such path"})
        return Answer(200, answers[path], {"Metadata-Flavor": "Google"})

    with serving(answer) as url:
        yield url, seen, answers


Endpoint = tuple[str, list[Request], dict[str, Any]]


def test_a_file_is_read_anew_each_time_and_may_end_in_a_newline(tmp_path: Path) -> None:
    path = tmp_path / "token"
    source = TokenSource(file=str(path))
    with pytest.raises(SignerUnavailable, match="No such file"):
        source.read()
    for subject in ("first", "second"):
        path.write_text(jwt(subject) + "\n")
        token = source.read()
        assert (token.subject, token.issuer) == (subject, "https://issuer")
        assert not token.jwt.endswith("\n")
    for text in ("", "\n", "x" * 70_000):
        path.write_text(text)
        with pytest.raises(SignerUnavailable, match="holds no token"):
            source.read()


@pytest.mark.parametrize("text", ["junk", "a.b.c", "a.e30", jwt().rpartition(".")[0]], ids=range(4))
def test_what_is_no_token_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SignerRejected) as caught:
        IdentityToken.from_jwt(text, "a file")
    assert text not in str(caught.value)
    assert text not in repr(IdentityToken.from_jwt(jwt(), "a file"))


def test_github_is_asked_with_its_own_token(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    url, seen, answers = endpoint
    answers["/token"] = {"value": jwt("repo:o/r")}
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"{url}/token?api-version=2.0")
    monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "secret")
    for provider in ("", "github", "github-actions"):
        assert TokenSource(provider).read().subject == "repo:o/r"
    assert seen[0].path == "/token?api-version=2.0&audience=sigstore"
    assert seen[0].headers["authorization"] == "bearer secret"
    answers.clear()
    with pytest.raises(SignerRejected, match=r"github actions http://127\.0\.0\.1:\d+ answered 404"):
        TokenSource("github").read()
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_URL")
    with pytest.raises(SignerRejected, match="id-token: write"):
        TokenSource("github").read()


def test_google_is_asked_through_its_metadata_server(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, seen, answers = endpoint
    base = "/computeMetadata/v1/"
    answers[base] = {}
    answers[f"{base}instance/service-accounts/default/identity"] = jwt("1234").encode()
    monkeypatch.setenv("GCE_METADATA_HOST", url.removeprefix("http://"))
    for provider in ("", "google", "google-workload-identity"):
        assert TokenSource(provider).read().subject == "1234"
    assert seen[-1].path.endswith("identity?audience=sigstore&format=full")
    assert all(request.headers["metadata-flavor"] == "Google" for request in seen)


def test_google_impersonates_an_account(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    url, seen, answers = endpoint
    answers["/computeMetadata/v1/instance/service-accounts/default/token"] = {"access_token": "secret"}
    answers["/v1/projects/-/serviceAccounts/robot@p.iam:generateIdToken"] = {"token": jwt("robot")}
    monkeypatch.setenv("GCE_METADATA_HOST", url.removeprefix("http://"))
    monkeypatch.setenv("GOOGLE_IAM_CREDENTIALS_URL", url)
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_NAME", "robot@p.iam")
    assert TokenSource().read().subject == "robot"
    assert seen[-1].headers["authorization"] == "Bearer secret"
    assert json.loads(seen[-1].body) == {"audience": "sigstore", "includeEmail": True}


def test_buildkite_is_asked_for_the_job(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    url, seen, answers = endpoint
    answers["/v3/jobs/j1/oidc/tokens"] = {"token": jwt("job")}
    monkeypatch.setenv("BUILDKITE_AGENT_ENDPOINT", f"{url}/v3")
    monkeypatch.setenv("BUILDKITE_JOB_ID", "j1")
    monkeypatch.setenv("BUILDKITE_AGENT_ACCESS_TOKEN", "secret")
    assert TokenSource().read().subject == "job"
    assert seen[0].headers["authorization"] == "Token secret"


def test_the_variable_is_read_and_a_file_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", jwt("variable"))
    assert TokenSource().read().subject == "variable"
    (tmp_path / "token").write_text(jwt("file"))
    assert TokenSource(file=str(tmp_path / "token")).read().subject == "file"
    assert TokenSource("envvar", str(tmp_path / "token")).read().subject == "variable"


def test_without_any_provider_the_next_step_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity_token, "_on_google", lambda: False)
    with pytest.raises(SignerUnavailable, match="mount a projected service-account token"):
        TokenSource().read()
    with pytest.raises(SignerRejected, match="unknown identity provider 'mine': expected one of filesystem"):
        TokenSource("mine").read()


Answering = Callable[[bytes, grpc.ServicerContext], bytes]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Callable[[Answering], str]]:
    """Start a SPIFFE workload API on a Unix socket, with gRPC's own server."""
    servers = []
    with ThreadPoolExecutor(2) as pool:

        def start(answer: Answering) -> str:
            server = grpc.server(pool)
            handler = grpc.unary_unary_rpc_method_handler(answer)
            handlers = {"FetchJWTSVID": handler}
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler("SpiffeWorkloadAPI", handlers),)
            )
            address = f"unix://{tmp_path / 'api.sock'}"
            server.add_insecure_port(address)
            server.start()
            servers.append(server)
            return address

        yield start
        for server in servers:
            server.stop(None).wait()


def test_spiffe_gives_a_token_for_the_audience(
    agent: Callable[[Answering], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    token = jwt("spiffe://example.org/chains", padding="x" * 300)

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        seen.append((request, dict(context.invocation_metadata())))
        name, raw = b"spiffe://example.org/chains", token.encode()
        inner = b"\x0a" + bytes((len(name),)) + name + b"\x12" + varint(len(raw)) + raw
        return b"\x0a" + varint(len(inner)) + inner

    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", agent(answer))
    for provider in ("", "spiffe"):
        assert TokenSource(provider).read().subject == "spiffe://example.org/chains"
    request, metadata = seen[0]
    assert request == b"\x0a\x08sigstore"
    assert metadata["workload.spiffe.io"] == "true"


def test_spiffe_without_an_identity_or_an_agent_is_told(
    agent: Callable[[Answering], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", f"unix://{tmp_path}/nobody.sock")
    with pytest.raises(SignerUnavailable, match="check SPIFFE_ENDPOINT_SOCKET"):
        TokenSource("spiffe").read()

    def refuse(_: bytes, context: grpc.ServicerContext) -> bytes:
        context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        return b""

    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", agent(refuse))
    with pytest.raises(SignerRejected, match="check that the workload is registered"):
        TokenSource("spiffe").read()


def varint(value: int) -> bytes:
    return bytes((value,)) if value < 128 else bytes((value & 0x7F | 0x80,)) + varint(value >> 7)
