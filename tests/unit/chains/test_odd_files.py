"""What stands where a file should be, and is none: nothing waits for it, and each is told in words."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from chains.assembly.key_folder import open_key_folder
from chains.assembly.trust import open_listed_keys, open_trusted_root
from chains.assembly.workspace import open_key
from chains.documents.load import read_bytes
from chains.errors import ChainsError, InputError, UsageError
from chains.tekton.run_files import read_inputs
from chains.verify.targets import parse_target
from signers import files as signer_files
from signers.errors import SignerError
from signers.sigstore.identity_token import TokenSource
from signers.sigstore.signing_config import load_signing_config
from storage import files as storage_files
from storage.errors import StoreError
from storage.formats.reference import parse_repository
from storage.oci.docker_config import DockerCredentials
from storage.open import open_store
from storage.record import Findings
from tests.unit.storage import records


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_pipe(path: Path) -> None:
    aside = path.with_name(f"{path.name}-aside")
    os.mkfifo(aside)
    path.symlink_to(aside)


def unix_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # a socket's path may not be long
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(path.name)
    finally:
        os.chdir(here)


def loop(path: Path) -> None:
    path.symlink_to(path)


def folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


ODD = [pipe, link_to_pipe, unix_socket, loop, folder, device, sparse]
Make = Callable[[Path], None]


@pytest.fixture(params=ODD, ids=lambda make: make.__name__)
def odd(request: pytest.FixtureRequest) -> Make:
    return request.param


@pytest.mark.parametrize("files", [storage_files, signer_files])
@pytest.mark.parametrize("follow", [True, False])
def test_only_regular_files_are_opened(tmp_path: Path, odd: Make, files: object, *, follow: bool) -> None:
    odd(tmp_path / "x")
    with pytest.raises(OSError, match=r"regular|directory|symbolic links|bytes"):
        files.read_file(tmp_path / "x", 100, follow=follow)  # type: ignore[attr-defined]


@pytest.mark.parametrize("files", [storage_files, signer_files])
def test_a_link_is_followed_where_that_is_wanted(tmp_path: Path, files: object) -> None:
    (tmp_path / "real").write_bytes(b"hello")
    (tmp_path / "link").symlink_to("real")
    assert files.read_file(tmp_path / "link", 5) == b"hello"  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="not a regular file"):
        files.read_file(tmp_path / "link", 5, follow=False)  # type: ignore[attr-defined]
    with pytest.raises(OSError, match="it has 5 bytes, at most 4 are read"):
        files.read_file(tmp_path / "real", 4)  # type: ignore[attr-defined]


def test_files_that_do_not_tell_their_size_are_read_within_the_limit() -> None:
    assert storage_files.read_file("/proc/self/status", 1 << 20).startswith(b"Name:")
    with pytest.raises(OSError, match="more than 10 bytes"):
        storage_files.read_file("/proc/self/status", 10)


def replaced(path: Path, make: Make) -> None:
    path.unlink()
    make(path)


def find(url: str) -> Findings:
    async def go() -> Findings:
        async with open_store(url) as store:
            digest = records.subject().digest["sha256"]
            by_digest = await store.find(f"sha256:{digest}")
            by_run = await store.find_run(records.origin().uid)
            assert by_digest.evidence == by_run.evidence
            return by_digest

    return asyncio.run(go())


def put(url: str) -> None:
    async def go() -> None:
        async with open_store(url) as store:
            for record in records.records_of_run(records.subject()):
                assert not (await store.put(record)).failures

    asyncio.run(go())


@pytest.mark.parametrize("suffix", [".envelope.json", ".bundle.json", ".sig", ".payload"])
def test_a_folder_store_skips_what_is_no_file_and_finds_the_rest(
    tmp_path: Path, odd: Make, suffix: str
) -> None:
    put(f"file:{tmp_path}")
    before = find(f"file:{tmp_path}")
    (path,) = [
        path
        for path in tmp_path.glob(f"taskrun-default-build/*{suffix}")
        if "scai" not in path.name and ("slsa" in path.name or suffix in {".sig", ".payload"})
    ]
    replaced(path, odd)
    found = find(f"file:{tmp_path}")
    assert len(found.evidence) == len(before.evidence) - 1
    assert len(found.skipped) == 1


@pytest.mark.parametrize("name", ["cert", "chain"])
def test_a_folder_store_takes_no_certificate_from_what_is_no_file(
    tmp_path: Path, odd: Make, name: str
) -> None:
    put(f"file:{tmp_path}")
    before = find(f"file:{tmp_path}")
    (signature,) = tmp_path.glob("taskrun-default-build/*.sig")
    odd(signature.with_name(signature.name.removesuffix(".sig") + f".{name}.pem"))
    found = find(f"file:{tmp_path}")
    assert len(found.evidence) + len(found.skipped) == len(before.evidence)
    assert all(not one.annotations for one in found.evidence)


def test_a_folder_store_lists_runs_beside_what_is_no_file(tmp_path: Path, odd: Make) -> None:
    put(f"file:{tmp_path}")
    replaced(tmp_path / "by-run" / records.origin().uid / ".run.json", odd)
    found = find(f"file:{tmp_path}")
    assert found.evidence
    assert all(one.origin is None for one in found.evidence)


def test_a_folder_store_writes_beside_what_is_no_file(tmp_path: Path, odd: Make) -> None:
    put(f"file:{tmp_path}")
    (path,) = tmp_path.glob("taskrun-default-build/*slsa*.bundle.json")
    data = path.read_bytes()
    replaced(path, odd)
    put(f"file:{tmp_path}")
    assert data in {one.data for one in find(f"file:{tmp_path}").evidence}


def test_a_layout_skips_blobs_that_are_no_files(tmp_path: Path, odd: Make) -> None:
    put(f"oci-layout:{tmp_path}")
    before = find(f"oci-layout:{tmp_path}")
    victim = before.evidence[0].digest
    replaced(tmp_path / "blobs" / "sha256" / victim.removeprefix("sha256:"), odd)
    found = find(f"oci-layout:{tmp_path}")
    assert victim not in {one.digest for one in found.evidence}
    assert victim in {one.digest for one in found.skipped}


def test_a_layouts_blobs_may_be_links(tmp_path: Path) -> None:
    put(f"oci-layout:{tmp_path}/a")
    before = find(f"oci-layout:{tmp_path}/a")
    blob = tmp_path / "a" / "blobs" / "sha256" / before.evidence[0].digest.removeprefix("sha256:")
    blob.rename(tmp_path / "elsewhere")
    blob.symlink_to(tmp_path / "elsewhere")
    assert find(f"oci-layout:{tmp_path}/a") == before


@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
def test_a_layout_whose_own_files_are_none_is_named(tmp_path: Path, odd: Make, name: str) -> None:
    put(f"oci-layout:{tmp_path}")
    replaced(tmp_path / name, odd)
    if (name, odd) == ("oci-layout", sparse):
        assert find(f"oci-layout:{tmp_path}").evidence  # a search wants it to be a file, whatever it says
        return
    with pytest.raises(StoreError, match=rf"{tmp_path}"):
        find(f"oci-layout:{tmp_path}")


def test_a_key_that_is_no_file_is_named(tmp_path: Path, odd: Make) -> None:
    odd(tmp_path / "key")
    with pytest.raises(UsageError, match="key"):
        open_listed_keys([str(tmp_path / "key")])
    with pytest.raises(UsageError, match="key"):
        open_listed_keys([str(tmp_path / "key")], private=True)
    with pytest.raises(UsageError, match="key"):
        open_key(str(tmp_path / "key"))


@pytest.mark.parametrize("name", ["x509.pem", "cosign.key"])
def test_a_key_folder_with_what_is_no_file_is_named(tmp_path: Path, odd: Make, name: str) -> None:
    odd(tmp_path / name)
    with pytest.raises(ChainsError, match=r"x509\.pem|cosign\.key"):
        open_key_folder(tmp_path)


def test_a_run_file_that_is_none_is_named(tmp_path: Path, odd: Make) -> None:
    path = tmp_path / "run.json"
    odd(path)
    with pytest.raises(InputError, match=r"run\.json"):
        read_bytes(path, 1 << 20)
    if odd is not sparse:  # one of a terabyte is larger than any limit
        with pytest.raises(UsageError, match=r"run\.json"):
            parse_target(str(path))
    if odd is not folder:
        assert [name for name, _ in read_inputs([str(path)]).problems] == [str(path)]
        assert str(path) in [name for name, _ in read_inputs([str(tmp_path)]).problems]


def test_files_of_trust_that_are_none_are_named(tmp_path: Path, odd: Make) -> None:
    path = tmp_path / "trust.json"
    odd(path)
    with pytest.raises(UsageError, match=r"trust\.json"):
        open_trusted_root(str(path))
    with pytest.raises(SignerError, match=r"trust\.json"):
        load_signing_config(path)
    with pytest.raises(SignerError, match=r"trust\.json"):
        TokenSource(file=str(path)).read()


def test_registry_credentials_that_are_no_file_are_named_or_not_there(tmp_path: Path, odd: Make) -> None:
    odd(tmp_path / "config.json")
    found = DockerCredentials({"DOCKER_CONFIG": str(tmp_path), "HOME": str(tmp_path)})
    repository = parse_repository("registry.example/app")
    if odd is sparse:
        with pytest.raises(StoreError, match="bytes, at most"):
            asyncio.run(found.lookup(repository))
    else:
        assert asyncio.run(found.lookup(repository)).is_anonymous
