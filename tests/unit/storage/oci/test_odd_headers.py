"""Headers of registries that are made to cost time, or hold what is no address, number or page."""

from __future__ import annotations

import asyncio

import pytest
from yarl import URL

from storage.base import StoreOptions
from storage.errors import BadContent
from storage.formats.manifests import Descriptor
from storage.formats.reference import parse_repository
from storage.oci.lists import next_page
from storage.oci.registry import RegistryClient
from storage.oci.requests import resolve

DIGEST = "sha256:" + "a" * 64
_TLS = b"\x16"


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ('</v2/a/referrers/b?n=1>; rel="next"', "/v2/a/referrers/b?n=1"),
        ("</a>;rel=next", "/a"),
        ('</a>; title="x"; REL = "Next"', "/a"),
        ('</p>; rel="prev", </n>; rel="next"', "/n"),
        ('</p>; rel="prev"', None),
        ('</a>; rel="nextcloud"', None),
        ("</a> rel=next", None),
        ("</a>, rel=next", None),
        ("", None),
        ("<", None),
        ("<" * 60_000 + ">;" + "x" * 60_000, None),
        ("<>;" * 20_000 + " rel" * 20_000, None),
        ("<>;rel" + " " * 60_000, None),
        ("<>," * 20_000 + "</n>;rel=next", "/n"),
    ],
)
def test_the_next_page_is_found_in_any_header(link: str, target: str | None) -> None:
    assert next_page(link) == target


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:99999/x", "https://[", "https://[::1", "file:///x", "//:80/x"]
)
def test_a_location_that_is_no_address_is_no_answer(location: str) -> None:
    with pytest.raises(BadContent, match=r"registry\.example leads to something that is not an http"):
        resolve(URL("https://registry.example/v2/"), location)


@pytest.mark.parametrize("length", ["9" * 5000, "", "x", "-1", "1e3"])
def test_a_length_that_is_no_number_is_found_out_by_reading(length: str) -> None:
    body = b'{"mediaType":"application/vnd.oci.image.index.v1+json"}'

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (first := await reader.readexactly(1)) != _TLS:
                request = first + await reader.readuntil(b"\r\n\r\n")
                size = length.encode() if request.startswith(b"HEAD") else str(len(body)).encode()
                kind = b"Content-Type: application/vnd.oci.image.index.v1+json\r\n"
                writer.write(b"HTTP/1.1 200 OK\r\n" + kind + b"Content-Length: " + size + b"\r\n\r\n")
                writer.write(b"" if request.startswith(b"HEAD") else body)
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()

    async def go() -> Descriptor | None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with RegistryClient(StoreOptions(attempts=1)) as client:
                return await client.head_manifest(parse_repository(f"127.0.0.1:{port}/a/b"), "latest")

    found = asyncio.run(go())
    assert found is not None
    assert (found.media_type, found.size) == ("application/vnd.oci.image.index.v1+json", len(body))
