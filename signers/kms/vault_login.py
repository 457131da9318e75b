"""Tokens for Vault: configured, read from a file, or from a JWT login; renewed when they end or are refused.

The order is that of Tekton Chains: SPIRE, token file, token, JWT login with the service account's token.
Unlike in Chains, the JWT login does not need SPIRE. Then come ``VAULT_TOKEN``, ``BAO_TOKEN`` and
``~/.vault-token``, as in sigstore.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import hvac
from hvac import exceptions

from signers.errors import SignerRejected, SignerUnavailable
from signers.files import read_file
from signers.kms.service import KmsSettings

_MAX_TOKEN = 64 * 1024
"""The largest file with a token or JWT in bytes."""
_DEFAULT_PATH = "jwt"
_SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount/token"
_RENEW_AFTER = 2 / 3
"""The part of a token's life after which a new one is requested."""


_REFUSED = (
    exceptions.InvalidRequest,
    exceptions.Forbidden,
    exceptions.Unauthorized,
    exceptions.InvalidPath,
    exceptions.UnsupportedOperation,
)


class VaultLogin:
    """Holds one token, which threads share."""

    def __init__(self, settings: KmsSettings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._token, self._ends = "", float("inf")
        self._logs_in = bool(settings.spire_sock) or bool(
            not settings.token_path and not settings.token and settings.oidc_path and settings.oidc_role
        )
        self._file = self._token_file()
        self._seen: tuple[int, int, int] | None = None

    def token(self, client: hvac.Client) -> str:
        """Return a token that is probably valid.

        Raises :class:`SignerUnavailable`, :class:`SignerRejected` and exceptions of hvac.
        """
        with self._lock:
            if self._logs_in:
                if not self._token or time.monotonic() >= self._ends:
                    self._log_in(client)
            elif self._file is not None:
                self._read()
            else:
                self._token = _given(self._settings)
            return self._token

    def renew(self, refused: str) -> bool:
        """Forget a token that the server refused; return whether there may be another one."""
        with self._lock:
            if self._token != refused:
                return True  # another thread has replaced it already
            if self._logs_in:
                self._token = ""
                return True
            if self._file is None:
                return False
            self._seen = None
            self._read()
            return self._token != refused

    def _token_file(self) -> Path | None:
        """Return the token file, if a file is the source of the token."""
        if self._settings.token_path:
            return Path(self._settings.token_path)
        if self._settings.token or os.environ.get("VAULT_TOKEN") or os.environ.get("BAO_TOKEN"):
            return None
        try:
            home = Path.home() / ".vault-token"
            return home if home.is_file() else None
        except (RuntimeError, OSError):
            return None  # no HOME and no entry for this uid in /etc/passwd, or no access to that folder

    def _read(self) -> None:
        """Read the token file if it has changed."""
        assert self._file is not None  # noqa: S101 - for the type checker
        try:
            state = self._file.stat()
            # A mounted secret is replaced by a symbolic link to a new file, so the inode changes.
            seen = (state.st_mtime_ns, state.st_ino, state.st_size)
            if seen == self._seen:
                return
            token = read_file(self._file, _MAX_TOKEN).decode().strip()
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
            raise SignerRejected(
                f"vault: the token file {self._file} cannot be read: {reason}: check "
                "signers.kms.auth.token-path"
            ) from exc
        if not token or not token.isprintable():
            raise SignerRejected(f"vault: the token file {self._file} is empty or has no token")
        self._token, self._seen = token, seen

    def _log_in(self, client: hvac.Client) -> None:
        """Get a token by a JWT login."""
        settings = self._settings
        if not settings.oidc_role:
            raise SignerRejected("vault: the jwt login needs a role: set signers.kms.auth.oidc.role")
        jwt = _spire_token(settings) if settings.spire_sock else _jwt_file(settings)
        path = settings.oidc_path or _DEFAULT_PATH
        client.token = ""
        try:
            answer = client.auth.jwt.jwt_login(settings.oidc_role, jwt, use_token=False, path=path)
        except _REFUSED:
            raise SignerRejected(
                f"vault: the jwt login at auth/{path} as role {settings.oidc_role} was refused: check "
                "path, role, "
                "bound audience, and that the server knows the token's issuer"
            ) from None  # the exception contains the answer, which can repeat the jwt
        except exceptions.VaultError as exc:
            problem = type(exc).__name__
            raise SignerUnavailable(
                f"vault: the jwt login at auth/{path} was not answered: {problem}"
            ) from None
        login = (answer if isinstance(answer, dict) else {}).get("auth") or {}
        token, seconds = login.get("client_token"), login.get("lease_duration")
        if not isinstance(token, str) or not token:
            raise SignerUnavailable(f"vault: the jwt login at auth/{path} gave no token")
        # Renewed before its end, so that no request fails with an expired token.
        lasts = seconds * _RENEW_AFTER if isinstance(seconds, int) and seconds > 0 else float("inf")
        self._token, self._ends = token, time.monotonic() + lasts


def _given(settings: KmsSettings) -> str:
    """Return the configured token. Raises :class:`SignerRejected` if there is none."""
    token = settings.token or os.environ.get("VAULT_TOKEN") or os.environ.get("BAO_TOKEN") or ""
    if not token.strip():
        raise SignerRejected(
            "vault: no token: set signers.kms.auth.token-path, signers.kms.auth.oidc.path with .role, or "
            "VAULT_TOKEN"
        )
    return token.strip()


def _jwt_file(settings: KmsSettings) -> str:
    """Return the JWT in the service account's file. Raises :class:`SignerRejected`."""
    path = settings.oidc_token_path or _SERVICE_ACCOUNT
    try:
        jwt = read_file(path, _MAX_TOKEN).decode().strip()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not text"
        raise SignerRejected(
            f"vault: the file {path} with the jwt cannot be read: {reason}: check "
            "signers.kms.auth.oidc.token-path"
        ) from exc
    if not jwt:
        raise SignerRejected(f"vault: the file {path} with the jwt is empty")
    return jwt


def _spire_token(settings: KmsSettings) -> str:
    try:
        from signers.spiffe import fetch_jwt  # noqa: PLC0415 - needs grpc
    except ModuleNotFoundError as exc:
        raise SignerRejected(
            f"vault: a jwt from spire needs the package {exc.name}: install provenance-chains with its "
            "extra spiffe, or use signers.kms.auth.oidc.token-path with a projected token"
        ) from exc
    return fetch_jwt(settings.spire_sock, settings.spire_audience)
