from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import StoreRejected
from storage.formats.digest import is_sha256
from storage.formats.reference import (
    Image,
    Repository,
    canonical,
    parse_image,
    parse_repository,
    spellings,
)
from storage.http_client.plain_http import may_be_plain_http

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "registry", "name"),
    [
        ("registry.example/team/app", "registry.example", "team/app"),
        ("registry.example:5000/app", "registry.example:5000", "app"),
        ("registry.example/app:v1.2", "registry.example", "app"),
        (f"registry.example/app@{DIGEST}", "registry.example", "app"),
        (f"registry.example:443/app:v1@{DIGEST}", "registry.example:443", "app"),
        ("oci://registry.example/app", "registry.example", "app"),
        ("docker://registry.example/app:1", "registry.example", "app"),
        ("localhost/app", "localhost", "app"),
        ("localhost:5000/app", "localhost:5000", "app"),
        ("127.0.0.1:5000/a/b/c", "127.0.0.1:5000", "a/b/c"),
        ("[::1]:5000/app", "[::1]:5000", "app"),
        ("docker.io/busybox", "index.docker.io", "library/busybox"),
        ("docker.io/team/app", "index.docker.io", "team/app"),
        ("index.docker.io/busybox", "index.docker.io", "library/busybox"),
        ("oci://busybox", "index.docker.io", "library/busybox"),
        ("oci://team/app", "index.docker.io", "team/app"),
        ("registry.example/a__b/c-d.e_f--g", "registry.example", "a__b/c-d.e_f--g"),
    ],
)
def test_references_are_read_as_cosign_reads_them(text: str, registry: str, name: str) -> None:
    assert parse_image(text).repository == Repository(registry, name)


ENCODED = DIGEST.replace(":", "%3A")


@pytest.mark.parametrize(
    ("text", "registry", "name"),
    [
        (f"pkg:oci/app@{ENCODED}?repository_url=ghcr.io/team/app&tag=latest", "ghcr.io", "team/app"),
        (f"pkg:oci/app@{DIGEST}?repository_url=ghcr.io/team", "ghcr.io", "team/app"),
        (f"pkg:oci/app@{DIGEST}?repository_url=ghcr.io", "ghcr.io", "app"),
        (f"pkg:oci/app@{DIGEST}?repository_url=localhost:5000/app", "localhost:5000", "app"),
        (f"pkg:oci/app@{DIGEST}?repository_url=https://ghcr.io/team/app/", "ghcr.io", "team/app"),
        (f"pkg:oci/App@{DIGEST}?repository_url=docker.io/library/app", "index.docker.io", "library/app"),
        (f"pkg:docker/team/app@{ENCODED}?repository_url=gcr.io", "gcr.io", "team/app"),
        (f"pkg:docker/team/app@{ENCODED}", "index.docker.io", "team/app"),
        (f"pkg:docker/busybox@{ENCODED}", "index.docker.io", "library/busybox"),
    ],
)
def test_package_urls_of_images_name_their_repository(text: str, registry: str, name: str) -> None:
    found = parse_image(text)
    assert (found.repository, found.digest) == (Repository(registry, name), DIGEST)


def test_a_tag_in_a_package_url_is_dropped() -> None:
    assert parse_image("pkg:docker/team/app@1.0?repository_url=gcr.io") == Image(
        Repository("gcr.io", "team/app")
    )


def test_the_digest_of_a_reference_is_kept() -> None:
    assert parse_image(f"registry.example/app:tag@{DIGEST}").digest == DIGEST
    assert parse_image("registry.example/app:tag").digest == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "app",
        "team/app",
        "taskrun/default/build",
        "registry.example/",
        "registry.example//app",
        "registry.example/App",
        "registry.example/../app",
        "registry.example/./app",
        "registry.example/app/",
        "registry.example/app:ta g",
        "registry.example/app@sha256:abc",
        f"registry.example/app@sha512:{'a' * 128}",
        "registry.example:port/app",
        "registry.example:99999/app",
        "registry.example/" + "a" * 256,
        "pkg:maven/org.example/app",
        "pkg:",
        "pkg:oci/",
        f"pkg:oci/app@{DIGEST}",
        f"pkg:oci/app@{DIGEST}?repository_url=team/app",
        f"pkg:oci/app@sha512:{'a' * 128}?repository_url=ghcr.io/app",
        f"pkg:oci/app@{DIGEST}?repository_url=user:secret@ghcr.io/app",
        f"pkg:oci/..%2Fapp@{DIGEST}?repository_url=ghcr.io/team",
        f"pkg:oci/app@{DIGEST}?repository_url=ghcr.io/app%3Fx=y",
        f"pkg:generic/app@{DIGEST}?repository_url=ghcr.io/app",
        "https://registry.example/app",
        "git+https://github.com/example/app.git",
        "user@registry.example/app",
        "registry.exa mple/app",
        "registry.example/app?x=y",
        "registry.example/app#x",
        "registry.example/%2e%2e/app",
        "ünï.example/app",
        "[::1/app",
    ],
)
def test_what_is_no_reference_is_rejected(text: str) -> None:
    with pytest.raises(StoreRejected):
        parse_image(text)


@pytest.mark.parametrize("text", ["registry.example/app:tag", f"registry.example/app@{DIGEST}"])
def test_a_repository_has_neither_tag_nor_digest(text: str) -> None:
    with pytest.raises(StoreRejected, match="without tag or digest"):
        parse_repository(text)
    assert str(parse_repository("oci://localhost:5000/app")) == "localhost:5000/app"


@pytest.mark.parametrize(
    ("registry", "plain"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("LOCALHOST:5000", True),
        ("registry.localhost:5000", True),
        ("127.0.0.1", True),
        ("127.0.0.1:5000", True),
        ("127.9.9.9:5000", True),
        ("[::1]", True),
        ("[::1]:5000", True),
        ("10.1.2.3:5000", True),
        ("172.16.0.1", True),
        ("192.168.1.1:80", True),
        ("172.32.0.1", False),
        ("169.254.1.1", False),
        ("8.8.8.8:5000", False),
        ("registry.example", False),
        ("notlocalhost:5000", False),
        ("localhost.example", False),
        ("127.0.0.1.example", False),
        ("registry.local:5000", False),
    ],
)
def test_only_registries_next_door_may_be_plain_http(registry: str, *, plain: bool) -> None:
    assert may_be_plain_http(registry) is plain


@given(st.text())
def test_any_text_is_a_reference_or_rejected(text: str) -> None:
    try:
        repository = parse_image(text).repository
    except StoreRejected:
        return
    assert parse_image(f"oci://{repository}").repository == repository
    assert ".." not in repository.name.split("/")


def test_a_sha256_digest_is_64_lowercase_hex_digits() -> None:
    assert is_sha256(DIGEST)
    for wrong in (
        "",
        "sha256:",
        DIGEST.upper(),
        DIGEST + "a",
        DIGEST + "\n",
        DIGEST[:-1],
        "sha512:" + "a" * 64,
    ):
        assert not is_sha256(wrong)


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("registry.example/app", "registry.example:443/app"),
        ("registry.example/app", "REGISTRY.example:00443/app"),
        ("registry.example:5000/app", "Registry.example:05000/app"),
        ("[::1]/app", "[::1]:443/app"),
        ("docker.io/nginx", "registry-1.docker.io:443/nginx"),
        ("docker.io/team/app", "index.docker.io:443/team/app"),
    ],
)
def test_two_spellings_of_one_repository_compare_equal(text: str, same: str) -> None:
    one, other = parse_image(text).repository, parse_image(same).repository
    assert canonical(one) == canonical(other)
    assert {str(one).lower(), str(canonical(other)).lower()} <= set(spellings(other)) | {str(other).lower()}
    assert canonical(canonical(one)) == canonical(one)


@pytest.mark.parametrize(
    ("text", "other"),
    [
        ("registry.example/app", "registry.example:80/app"),
        ("registry.example/app", "registry.example:5000/app"),
        ("registry.example/app", "registry.example/app2"),
        ("docker.io/team/app", "docker.io:5000/team/app"),
        ("[::1]/app", "[::1]:5000/app"),
        ("[::443]/app", "[::]/app"),
    ],
)
def test_two_repositories_do_not_compare_equal(text: str, other: str) -> None:
    one, two = parse_image(text).repository, parse_image(other).repository
    assert canonical(one) != canonical(two)
    assert not set(spellings(one)) & set(spellings(two))


@given(st.sampled_from(["registry.example", "a.b:443", "a.b:5000", "docker.io", "[::1]", "[::1]:443"]))
def test_every_spelling_of_a_repository_is_read_as_that_repository(registry: str) -> None:
    repository = parse_image(f"{registry}/team/app").repository
    assert str(repository) in spellings(repository)
    for text in spellings(repository):
        assert canonical(parse_image(text).repository) == canonical(repository)
