"""A registry as tests use it: its address, its credentials, and small real images pushed to it.

The client is plain urllib, so that tests do not check our registry client with itself.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import ssl
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPHandler, HTTPSHandler, OpenerDirector, ProxyHandler, Request, build_opener

from tests.testbed.tokens import TokenService

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
SECONDS = 60


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a registry."""

    status: int
    headers: Message
    body: bytes


class RegistryRefusedError(Exception):
    """A push or read during the set-up of a test was refused."""


@dataclass(frozen=True, slots=True)
class Registry:
    """A running registry and how to use it."""

    host: str
    """``127.0.0.1:port``, as in image references."""
    pid: int
    log: Path
    tls: bool = False
    ca_file: Path | None = None
    """PEM file with the CA of the registry's certificate; set with TLS only."""
    username: str = ""
    password: str = field(default="", repr=False)
    tokens: TokenService | None = None
    """The token service; set for a registry that asks for tokens only."""

    @property
    def url(self) -> str:
        """``http://127.0.0.1:port`` or ``https://…``."""
        return f"{'https' if self.tls else 'http'}://{self.host}"

    def push_image(
        self, repository: str, *, tag: str = "", content: bytes = b"", platform: str = "amd64"
    ) -> str:
        """Push an OCI image for ``linux/PLATFORM`` with one small layer and return its digest.

        The digest depends on the arguments alone; without ``content`` the layer holds the repository's name.
        """
        archive = _archive(content or repository.encode())
        layer = gzip.compress(archive, mtime=0)
        config = _json(
            {
                "architecture": platform,
                "os": "linux",
                "config": {},
                "rootfs": {"type": "layers", "diff_ids": [digest_of(archive)]},
            }
        )
        for blob in (layer, config):
            self.push_blob(repository, blob)
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, config),
            "layers": [descriptor(LAYER, layer)],
        }
        return self.push_manifest(repository, _json(manifest), MANIFEST, tag)

    def push_index(self, repository: str, images: Sequence[str] = (), *, tag: str = "") -> str:
        """Push an index over images in the repository and return its digest.

        The images are given by digest and become linux/amd64, linux/arm64 and so on. Without any, two are
        pushed first.
        """
        platforms = ("amd64", "arm64", "ppc64le", "s390x", "riscv64")
        images = images or [self.push_image(repository, platform=platform) for platform in platforms[:2]]
        children = [
            descriptor(MANIFEST, self.manifest(repository, image))
            | {"platform": {"architecture": platform, "os": "linux"}}
            for image, platform in zip(images, platforms, strict=False)
        ]
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": children}
        return self.push_manifest(repository, _json(index), INDEX, tag)

    def push_blob(self, repository: str, data: bytes) -> str:
        """Upload a blob and return its digest."""
        begun = self._expect(202, "POST", f"/v2/{repository}/blobs/uploads/")
        location = urljoin(self.url, begun.headers["Location"])
        separator = "&" if "?" in location else "?"
        target = f"{location}{separator}{urlencode({'digest': digest_of(data)})}"
        self._expect(201, "PUT", target, data, {"Content-Type": "application/octet-stream"})
        return digest_of(data)

    def push_manifest(self, repository: str, data: bytes, media_type: str, tag: str = "") -> str:
        """Store a manifest under its digest, and under ``tag`` where given; returns the digest."""
        digest = digest_of(data)
        for reference in (digest, tag) if tag else (digest,):
            self._expect(
                201, "PUT", f"/v2/{repository}/manifests/{reference}", data, {"Content-Type": media_type}
            )
        return digest

    def manifest(self, repository: str, reference: str) -> bytes:
        """Return the bytes of a manifest, named by tag or digest."""
        return self._expect(200, "GET", f"/v2/{repository}/manifests/{reference}").body

    def blob(self, repository: str, digest: str) -> bytes:
        """Return the bytes of a blob."""
        return self._expect(200, "GET", f"/v2/{repository}/blobs/{digest}").body

    def tags(self, repository: str) -> list[str]:
        """Return the tags of a repository, sorted; none for a repository that does not exist."""
        answer = self.request("GET", f"/v2/{repository}/tags/list")
        return sorted(json.loads(answer.body).get("tags") or []) if answer.status == 200 else []

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        anonymous: bool = False,
    ) -> Answer:
        """Send one request, with the credentials unless ``anonymous``, and return the answer, whatever its
        status.
        """
        url, headers = urljoin(self.url, path), {"Accept": f"{MANIFEST}, {INDEX}, */*"} | dict(headers or {})
        answer = self._send(method, url, body, headers)
        if answer.status != 401 or anonymous or not self.username:
            return answer
        basic = "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        challenge = answer.headers.get("WWW-Authenticate", "")
        if not challenge.startswith("Bearer "):
            return self._send(method, url, body, headers | {"Authorization": basic})
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        query = {key: asked[key] for key in ("service", "scope") if key in asked}
        granted = self._send("GET", f"{asked['realm']}?{urlencode(query)}", None, {"Authorization": basic})
        if granted.status != 200:
            return granted
        token = json.loads(granted.body)["token"]
        return self._send(method, url, body, headers | {"Authorization": f"Bearer {token}"})

    def client_env(self, folder: Path) -> dict[str, str]:
        """Write a docker config with the credentials into ``folder``; return the environment for a Go
        client.
        """
        folder.mkdir(parents=True, exist_ok=True)
        auth = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        auths = {self.host: {"auth": auth}} if self.username else {}
        (folder / "config.json").write_text(json.dumps({"auths": auths}))
        return {"DOCKER_CONFIG": str(folder)} | ({"SSL_CERT_FILE": str(self.ca_file)} if self.ca_file else {})

    def _expect(
        self,
        status: int,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        answer = self.request(method, path, body, headers)
        if answer.status != status:
            raise RegistryRefusedError(
                f"{method} {path}: expected {status}, got {answer.status} {answer.body[:256]!r}"
            )
        return answer

    def _send(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        request = Request(url, body, dict(headers), method=method)
        try:
            with self._opener().open(request, timeout=SECONDS) as response:
                return Answer(response.status, response.headers, response.read())
        except HTTPError as exc:
            with exc:
                return Answer(exc.code, exc.headers, exc.read())

    def _opener(self) -> OpenerDirector:
        context = ssl.create_default_context(cafile=self.ca_file) if self.ca_file else None
        return build_opener(ProxyHandler({}), HTTPHandler(), HTTPSHandler(context=context))


def descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    """Return the OCI descriptor of ``data``."""
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data)}


def digest_of(data: bytes) -> str:
    """Return ``sha256:hex``."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _archive(content: bytes) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        entry = tarfile.TarInfo("content")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return output.getvalue()


def _json(content: dict[str, Any]) -> bytes:
    return json.dumps(content, separators=(",", ":")).encode()
