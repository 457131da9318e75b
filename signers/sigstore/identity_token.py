"""Reads OIDC identity tokens from the environment of the process: files, CI services, clouds.

The providers are those of cosign; Tekton Chains' key ``signers.x509.fulcio.provider`` names one. A token is
read again for every certificate, because projected service account tokens are replaced in place before they
expire.
"""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlencode

import orjson

from signers.errors import FormatError, SignerError, SignerRejected, SignerUnavailable
from signers.files import open_file
from signers.sigstore.service import MAX_ANSWER_VALUES, Service, expect_success
from signers.strict_json import expect_few

AUDIENCE = "sigstore"
DEFAULT_FILE = "/var/run/sigstore/cosign/oidc-token"
_LARGEST = 64 * 1024
"""The largest token file in bytes."""
_GOOGLE_METADATA = "http://metadata.google.internal"
_GOOGLE_CREDENTIALS = "https://iamcredentials.googleapis.com"
_SPIRE_SOCKET = "/tmp/spire-agent/public/api.sock"  # noqa: S108 - the agent's default
_PARTS = 3
"""A signed JWT has a header, claims and a signature (RFC 7515, section 3.1)."""


@dataclass(frozen=True, slots=True)
class IdentityToken:
    """A JSON web token. Its claims are not verified here; the service that receives it does that."""

    jwt: str = field(repr=False)
    issuer: str
    subject: str
    expires: float
    """Seconds since the epoch (claim ``exp``); 0 when the token has none."""
    source: str
    """What the token was read from, for messages."""

    @classmethod
    def from_jwt(cls, text: str, source: str) -> IdentityToken:
        """Read the claims of a token. Raises :class:`SignerRejected`, whose text repeats none of it."""
        jwt = text.strip()  # a file may end with a newline, which an HTTP header must not contain
        try:
            parts = jwt.split(".")
            # JWTs use base64url without padding (RFC 7515, section 2), but Python's decoder requires the
            # padding.
            data = urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
            expect_few(data, "the token", MAX_ANSWER_VALUES)
            claims = orjson.loads(data)
            expires = float(claims.get("exp") or 0)
        except (IndexError, FormatError, ValueError, AttributeError, TypeError) as error:
            raise SignerRejected(f"{source} has no json web token: check what writes it") from error
        if len(parts) != _PARTS:
            raise SignerRejected(f"{source} has no signed json web token: check what writes it")
        return cls(jwt, str(claims.get("iss") or ""), str(claims.get("sub") or ""), expires, source)


@dataclass(frozen=True, slots=True)
class TokenSource:
    """The configured source of tokens.

    If ``file`` is set, and ``provider`` is empty or a file provider, the file is used. Otherwise ``provider``
    is used, or the first provider that is available if it is empty.
    """

    provider: str = ""
    file: str = ""

    def read(self) -> IdentityToken:
        """Return a fresh token.

        Raises :class:`SignerUnavailable` when a provider does not answer or a file does not exist yet, and
        :class:`SignerRejected` for an unknown provider or an answer that is not a token.
        """
        if self.file and self.provider in {"", "filesystem", "filesystem-custom-path"}:
            return _file(self.file)
        if self.provider:
            provider = PROVIDERS.get(self.provider)
            if provider is None:
                raise SignerRejected(
                    f"unknown identity provider {self.provider!r}: expected one of {', '.join(PROVIDERS)}"
                )
            return provider.read()
        # No provider is configured: use the first that is available, as cosign does.
        for provider in PROVIDERS.values():
            if provider.is_there():
                return provider.read()
        raise SignerUnavailable(
            f"no identity token: there is no {DEFAULT_FILE} and no other provider; mount a projected "
            f"service-account token with the audience {AUDIENCE}, or set signers.x509.identity.token.file"
        )


@dataclass(frozen=True, slots=True)
class Provider:
    """A source of tokens: whether it is available here, and how to read a token from it."""

    is_there: Callable[[], bool]
    read: Callable[[], IdentityToken]


def _file(name: str) -> IdentityToken:
    """Return the token in a file. A missing or empty file is unavailable: a volume may still be mounted."""
    path = Path(name)
    source = f"identity token file {path}"
    try:
        with open_file(path) as file:
            data = file.read(_LARGEST + 1)
    except PermissionError as error:
        raise SignerRejected(f"{source} cannot be read by user {os.getuid()}: change its mode") from error
    except OSError as error:
        raise SignerUnavailable(f"{source} cannot be read: {error.strerror}: check its volume") from error
    # Unavailable and not rejected: the file may be written at this moment.
    if len(data) > _LARGEST or not data.strip():
        raise SignerUnavailable(f"{source} holds no token ({len(data)} bytes): check what writes it")
    return IdentityToken.from_jwt(data.decode(errors="replace"), source)


def _default_file() -> Provider:
    return Provider(lambda: Path(DEFAULT_FILE).is_file(), lambda: _file(DEFAULT_FILE))


def _member(service: Service, path: str, name: str, method: str, body: object, **headers: str) -> str:
    """Return the text member ``name`` of the JSON answer to one request."""
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    if body is None:
        reply = service.request(method, path, headers=sent)
    else:
        reply = service.post_json(path, body, sent)
    value = expect_success(reply).json.get(name)
    if not isinstance(value, str):
        raise SignerUnavailable(f"{reply.where}: its answer has no {name!r}")
    return value


def _github() -> IdentityToken:
    url, token = (
        os.environ.get("ACTIONS_ID_TOKEN_REQUEST_URL"),
        os.environ.get("ACTIONS_ID_TOKEN_REQUEST_TOKEN"),
    )
    if not url or not token:
        raise SignerRejected(
            "github actions gave no ACTIONS_ID_TOKEN_REQUEST_URL: give the job 'permissions: id-token: write'"
        )
    # The URL from the environment usually has a query already.
    service = Service(f"{url}{'&' if '?' in url else '?'}audience={AUDIENCE}", "github actions")
    jwt = _member(service, "", "value", "GET", None, Authorization=f"bearer {token}")
    return IdentityToken.from_jwt(jwt, "github actions")


def _metadata() -> Service:
    host = os.environ.get("GCE_METADATA_HOST")
    return Service(f"http://{host}" if host else _GOOGLE_METADATA, "google metadata server", timeout=5)


def _on_google() -> bool:
    """Whether the process runs on Google Cloud; asks the metadata server only on Google's hardware."""
    if not os.environ.get("GCE_METADATA_HOST"):
        try:
            # The local check avoids a DNS lookup of metadata.google.internal on every other machine.
            if "Google" not in Path("/sys/class/dmi/id/product_name").read_text():
                return False
        except OSError:
            return False
    try:
        reply = _metadata().request("GET", "/computeMetadata/v1/", headers={"Metadata-Flavor": "Google"})
    except SignerError:
        return False
    return reply.headers.get("Metadata-Flavor") == "Google"


def _google() -> IdentityToken:
    query = urlencode({"audience": AUDIENCE, "format": "full"})
    path = f"/computeMetadata/v1/instance/service-accounts/default/identity?{query}"
    reply = expect_success(_metadata().request("GET", path, headers={"Metadata-Flavor": "Google"}))
    return IdentityToken.from_jwt(reply.body.decode(errors="replace"), "google metadata server")


def _google_impersonate() -> IdentityToken:
    account = os.environ.get("GOOGLE_SERVICE_ACCOUNT_NAME", "")
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    access = _member(_metadata(), path, "access_token", "GET", None, Metadata_Flavor="Google")
    service = Service(
        os.environ.get("GOOGLE_IAM_CREDENTIALS_URL", _GOOGLE_CREDENTIALS), "google iam credentials"
    )
    path = f"/v1/projects/-/serviceAccounts/{quote(account, safe='@')}:generateIdToken"
    body = {"audience": AUDIENCE, "includeEmail": True}
    jwt = _member(service, path, "token", "POST", body, Authorization=f"Bearer {access}")
    return IdentityToken.from_jwt(jwt, "google iam credentials")


def _buildkite() -> IdentityToken:
    base = os.environ.get("BUILDKITE_AGENT_ENDPOINT") or "https://agent.buildkite.com/v3"
    job, token = os.environ.get("BUILDKITE_JOB_ID", ""), os.environ.get("BUILDKITE_AGENT_ACCESS_TOKEN", "")
    service = Service(base, "buildkite agent api")
    path = f"/jobs/{quote(job)}/oidc/tokens"
    jwt = _member(service, path, "token", "POST", {"audience": AUDIENCE}, Authorization=f"Token {token}")
    return IdentityToken.from_jwt(jwt, "buildkite agent api")


def _environment() -> IdentityToken:
    return IdentityToken.from_jwt(os.environ.get("SIGSTORE_ID_TOKEN", ""), "the variable SIGSTORE_ID_TOKEN")


def _spiffe() -> IdentityToken:
    from signers.spiffe import fetch_jwt  # noqa: PLC0415 - needs grpc

    address = os.environ.get("SPIFFE_ENDPOINT_SOCKET") or f"unix://{_SPIRE_SOCKET}"
    jwt = fetch_jwt(address, AUDIENCE, "SPIFFE_ENDPOINT_SOCKET")
    return IdentityToken.from_jwt(jwt, "spiffe workload api")


def _has_spiffe() -> bool:
    address = os.environ.get("SPIFFE_ENDPOINT_SOCKET", "")
    return bool(address) or Path(_SPIRE_SOCKET).exists()


def _named(*names: str) -> Callable[[], bool]:
    """Return a function that tells whether all these environment variables are set."""
    return lambda: all(os.environ.get(name) for name in names)


PROVIDERS = {
    "filesystem": _default_file(),
    "github-actions": Provider(
        _named("ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"), _github
    ),
    "spiffe": Provider(_has_spiffe, _spiffe),
    "buildkite-agent": Provider(_named("BUILDKITE_JOB_ID", "BUILDKITE_AGENT_ACCESS_TOKEN"), _buildkite),
    "envvar": Provider(_named("SIGSTORE_ID_TOKEN"), _environment),
    "google-impersonate": Provider(_named("GOOGLE_SERVICE_ACCOUNT_NAME"), _google_impersonate),
    "google-workload-identity": Provider(_on_google, _google),
}
"""The providers by name, in the order in which they are tried. Those that use the network to find out whether
they are available come last."""
PROVIDERS |= {"google": PROVIDERS["google-workload-identity"], "github": PROVIDERS["github-actions"]}
