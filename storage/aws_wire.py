"""Sends requests to an AWS service without the overhead of the SDK.

boto3 uses 1.5 ms of processor time per request while it holds the interpreter's lock; signing and sending
take 0.3 ms. :class:`Wire` therefore sends some requests itself: signed by the SDK's signer with the SDK's
credentials, to the host that the SDK chose for its first request. In every unusual case (an outage, a
refusal, a redirect, a large object) it raises :class:`AskTheSdk`, and the caller sends the same request
through the SDK, which has retries and good error texts. Every request must therefore be safe to send twice.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any
from urllib.parse import urlsplit

from yarl import URL

from storage.http_client.exchange import Broken, Response, TooLarge
from storage.http_client.http1 import Client

AT_ONCE = 32
"""The most requests to one service at the same time."""
_SIGNED = "AWS4-HMAC-SHA256"


class AskTheSdk(Exception):  # noqa: N818 - named after the next step
    """The outcome of the request is unknown, it may have been carried out. Send it through the SDK."""


class Wire:
    """Sends signed requests to one service. Use from one event loop.

    It refuses every request until :meth:`learn` saw a request of the SDK that it can imitate: signed with
    SigV4 for ``service``, and without a proxy. ``credentials`` are botocore's, which renew themselves.
    ``seconds`` is the time limit of one request.
    """

    def __init__(self, service: str, credentials: Any, ca_file: str, seconds: float) -> None:
        self._service, self._credentials = service, credentials
        self._ca_file, self._seconds = ca_file, seconds
        self._tls: ssl.SSLContext | None = None
        self._region = ""
        self._places = asyncio.Semaphore(AT_ONCE)
        self._client = Client()
        self._is_off = False
        self._base: URL | None = None

    def learn(self, request: Any, *paths: str) -> None:
        """Take host and region from a request that botocore is about to send to one of ``paths``."""
        from botocore.utils import get_environ_proxies  # noqa: PLC0415 - takes a second and 30 MB

        parts = urlsplit(request.url)
        authorization = request.headers.get("Authorization", b"")
        if isinstance(authorization, bytes):
            authorization = authorization.decode("latin-1")
        # The header is "AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, SignedHeaders=…".
        scheme, _, rest = authorization.partition(" Credential=")
        scope = rest.partition(",")[0].split("/")[-4:]
        path = parts.path.rstrip("/")
        if (
            scheme != _SIGNED
            or scope[2:] != [self._service, "aws4_request"]
            or path not in paths
            # This client does not use proxies, so the SDK must send all requests if there is one.
            or get_environ_proxies(request.url)
        ):
            self._base = None
            return
        if parts.scheme == "https" and self._tls is None:
            # Created once, because loading the CAs is slow.
            self._tls = ssl.create_default_context(cafile=self._ca_file)
        self._region = scope[1]
        self._base = URL(f"{parts.scheme}://{parts.netloc}{path}/", encoded=True)

    async def close(self) -> None:
        """Close every connection. A later request opens new ones."""
        await self._client.close()

    async def ask(
        self, method: str, path: str, headers: dict[str, str], data: bytes | None, limit: int
    ) -> Response:
        """Return the answer to a request for ``path``, whatever its status.

        ``path`` is URL-quoted and relative to the service's own path. ``limit`` is the largest body in bytes.
        Raises :class:`AskTheSdk`.
        """
        if self._base is None or self._is_off:
            raise AskTheSdk
        url = URL(f"{self._base}{path}", encoded=True)
        async with self._places:
            signed = await self._signed(method, str(url), headers, data)
            try:
                async with asyncio.timeout(self._seconds):
                    return await self._client.send(method, url, signed, data, limit=limit, tls=self._tls)
            except ssl.SSLError:
                self._is_off = True  # the SDK's error explains what is wrong with the certificate
                raise AskTheSdk from None
            except (Broken, TooLarge, TimeoutError, OSError, ValueError):
                raise AskTheSdk from None

    async def _signed(
        self, method: str, url: str, headers: dict[str, str], data: bytes | None
    ) -> dict[str, str]:
        """Return the headers of a signed request. Expiring credentials are renewed in a thread."""
        from botocore.auth import S3SigV4Auth, SigV4Auth  # noqa: PLC0415 - see learn
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415

        # Renewing credentials is a network call, so it runs in a thread. Static ones have no such method.
        renewing = getattr(self._credentials, "refresh_needed", None)
        try:
            if renewing is not None and renewing():
                frozen = await asyncio.to_thread(self._credentials.get_frozen_credentials)
            else:
                frozen = self._credentials.get_frozen_credentials()
            request = AWSRequest(method, url, headers=headers, data=data or b"")
            # S3 does not normalize paths when it checks the signature, other services do.
            signer = S3SigV4Auth if self._service == "s3" else SigV4Auth
            signer(frozen, self._service, self._region).add_auth(request)
        except (BotoCoreError, OSError):
            raise AskTheSdk from None
        return {**dict(request.headers), "Accept-Encoding": "identity", "User-Agent": "provenance-chains"}


def ca_file_of_sdk() -> str:
    """Return the CA file that the SDK uses, for when our settings name none."""
    from botocore.httpsession import where  # noqa: PLC0415 - see Wire.learn
    from botocore.session import get_session  # noqa: PLC0415

    return get_session().get_config_variable("ca_bundle") or where()
