"""The image that ``deploy/image/build.py`` makes: the same every time, small, without what it does not need, and the
commands work in it. ``tests/e2e/`` runs it on a node.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from tests.testbed import build as testbed
from tests.testbed.node.shipped_image import ROOT, SCRIPTS, build, shipped_image, source_files

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]
ARCHITECTURES = ("amd64", "arm64")
MACHINE = {"amd64": 62, "arm64": 183}
"""ELF's e_machine."""
VARIANTS = ("slim", "default", "full")
MB = 1_000_000
MOST = {"slim": (50 * MB, 130 * MB), "default": (60 * MB, 150 * MB), "full": (250 * MB, 700 * MB)}
"""Compressed and unpacked bytes of one architecture, as docs/image.md tells them."""
SITE = "usr/local/lib/python3.11/dist-packages"
UID = 65532


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the layout, read without the script."""

    manifest: dict[str, Any]
    config: dict[str, Any]
    layers: tuple[Path, ...]
    members: dict[str, tarfile.TarInfo] = field(repr=False)
    """All files, folders and links, by path."""

    def files(self) -> Iterator[tuple[str, bytes]]:
        for layer in self.layers:
            with tarfile.open(layer) as archive:
                for member in archive:
                    if member.isreg():
                        content = archive.extractfile(member)
                        assert content is not None
                        yield member.name, content.read()


def layout_of(variant: str) -> Path:
    # the arm64 image of all extras would be built for its size alone
    return shipped_image(variant, ("amd64",) if variant == "full" else ARCHITECTURES)


@cache
def images(layout: Path) -> dict[str, Image]:
    """The images of a layout by architecture; every digest and size in it is checked."""

    def blob(described: dict[str, Any]) -> Path:
        path = layout / "blobs" / described["digest"].replace(":", "/")
        assert path.stat().st_size == described["size"]
        with path.open("rb") as file:
            assert f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}" == described["digest"]
        return path

    assert json.loads((layout / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    (top,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    index, found = json.loads(blob(top).read_bytes()), {}
    assert top["mediaType"] == index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    for described in index["manifests"]:
        manifest = json.loads(blob(described).read_bytes())
        config = json.loads(blob(manifest["config"]).read_bytes())
        layers = tuple(blob(each) for each in manifest["layers"])
        members = {}
        for layer, diff_id in zip(layers, config["rootfs"]["diff_ids"], strict=True):
            plain = hashlib.sha256(subprocess.check_output(["gzip", "-dc", layer])).hexdigest()
            assert f"sha256:{plain}" == diff_id
            with tarfile.open(layer) as archive:
                members |= {member.name: member for member in archive}
        assert described["platform"]["os"] == config["os"] == "linux"
        assert described["platform"]["architecture"] == config["architecture"]
        found[config["architecture"]] = Image(manifest, config, layers, members)
    return found


def digest_of(layout: Path) -> str:
    (top,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    return str(top["digest"])


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The root folder of an amd64 variant, as a runtime unpacks it."""

    @cache
    def unpack(variant: str) -> Path:
        root = tmp_path_factory.mktemp(f"root-{variant}")
        root.chmod(0o755)
        for layer in images(layout_of(variant))["amd64"].layers:
            subprocess.run(["tar", "-xzpf", layer, "-C", root], check=True)
        return root

    return unpack


def inside(root: Path, temporary: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command as the kubelet would: this root, read-only, its user, only /tmp writable, no network."""
    script = (
        'mount --bind "$0" "$0" && mount --bind "$1" "$0/tmp" && mount -t proc proc "$0/proc" && '
        'mount -o remount,bind,ro "$0" && root=$0 && shift && '
        f"exec env -i HOME=/tmp PATH=/usr/local/bin:/usr/bin:/bin {shutil.which('chroot')} "
        f'--userspec={UID}:{UID} --groups= "$root" "$@"'
    )
    return subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--fork", "--propagation", "private", "sh", "-c", script, root, temporary, *command],
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


def test_another_folder_machine_setting_and_hour_give_the_same_digest(tmp_path: Path) -> None:
    first, copy, cache_folder = layout_of("default"), tmp_path / "some where" / "else", tmp_path / "cache"
    for path in source_files():
        target = copy / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / path).read_bytes())
        os.utime(target, (10**9, 10**9))
    # packages are compared with the lock whenever they are used; everything else is made again
    shutil.copytree(testbed.cache() / "image" / "debs", cache_folder / "debs")
    other = {"TZ": "Pacific/Kiritimati", "LC_ALL": "C", "PYTHONHASHSEED": "77", "HOME": str(tmp_path / "home"),
             "UV_CACHE_DIR": subprocess.check_output(["uv", "cache", "dir"], text=True).strip()}  # fmt: skip
    script = 'umask 077; exec "$0" "$@"'
    command = [sys.executable, copy / "deploy/image/build.py", "--out", tmp_path / "layout", "--cache", cache_folder,
               "--fresh", "--arch=arm64", "--arch=amd64", "--revision", ""]  # fmt: skip
    done = subprocess.run(
        ["sh", "-c", script, *command], check=False, capture_output=True, text=True,
        env={**os.environ, **other, "SOURCE_DATE_EPOCH": "1700000000"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert digest_of(tmp_path / "layout") == digest_of(first)
    assert done.stdout.splitlines()[-1].split()[-1] == digest_of(first)
    found = {path.name for path in (tmp_path / "layout/blobs/sha256").iterdir()}
    assert found == {path.name for path in (first / "blobs/sha256").iterdir()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_each_platform_has_an_image_of_the_promised_size_with_its_user_and_labels(variant: str) -> None:
    found = images(layout_of(variant))
    assert set(found) == ({"amd64"} if variant == "full" else set(ARCHITECTURES))
    for image in found.values():
        config = image.config["config"]
        assert config["User"] == "65532:65532"
        assert (config["Entrypoint"], config["Cmd"]) == (["chains"], ["controller"])
        assert config["ExposedPorts"] == {"8080/tcp": {}}
        labels = config["Labels"]
        assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
        assert labels["provenance.chains/variant"] == variant
        assert "controller" in labels["provenance.chains/extras"].split()
        assert image.manifest["annotations"] == labels
        assert image.config["created"] == "2023-11-14T22:13:20Z"
        compressed = sum(each["size"] for each in image.manifest["layers"])
        plain = sum(member.size for member in image.members.values())
        assert compressed < MOST[variant][0]
        assert plain < MOST[variant][1]


def test_variants_of_one_source_share_the_lowest_and_the_highest_layer() -> None:
    slim, default = (images(layout_of(variant))["amd64"] for variant in ("slim", "default"))
    same = [
        one == other
        for one, other in zip(*(each.config["rootfs"]["diff_ids"] for each in (slim, default)), strict=True)
    ]
    assert same == [True, False, True]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_nothing_in_the_image_gives_more_rights_or_a_shell(architecture: str) -> None:
    image = images(layout_of("default"))[architecture]
    for name, member in image.members.items():
        assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", ""), name
        assert member.isreg() or member.isdir() or member.issym(), name
        if not member.issym():
            special = stat.S_ISUID | stat.S_ISGID | stat.S_IWOTH
            assert not member.mode & special or name == "tmp", f"{name} {member.mode:o}"
    assert image.members["tmp"].mode == 0o1777
    programs = {
        name for name, member in image.members.items() if member.isreg() and member.mode & 0o100
        and PurePosixPath(name).parent.name in {"bin", "sbin"}
    }  # fmt: skip
    assert programs == {"usr/bin/python3.11", "usr/local/bin/chains"}
    names = {PurePosixPath(name).name for name, member in image.members.items() if not member.isdir()}
    assert not names & {"sh", "bash", "dash", "busybox", "apt", "dpkg", "perl", "pip", "uv"}


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_machine_program_is_of_the_architecture_and_finds_its_libraries(architecture: str) -> None:
    image = images(layout_of("default"))[architecture]
    libraries = {PurePosixPath(name).name for name in image.members if ".so" in name}
    compiled, needed = [], dict[str, set[str]]()
    for name, data in image.files():
        if data.startswith(b"\x7fELF"):
            assert struct.unpack_from("<H", data, 18)[0] == MACHINE[architecture], name
            compiled.append(name)
            needed[name] = needed_by(data)
    lacking = {name: missing for name, wanted in needed.items() if (missing := wanted - libraries)}
    assert not lacking
    tags = {"amd64": "x86_64", "arm64": "aarch64"}
    other = tags["arm64" if architecture == "amd64" else "amd64"]
    assert [name for name in image.members if f"cpython-311-{tags[architecture]}-linux-gnu" in name]
    assert not [name for name in image.members if f"-{other}-linux-gnu" in name or f"{other}.so" in name]
    assert {"cryptography", "orjson", "nacl", "aiohttp", "yaml", "_cffi_backend.cpython-311-x86_64-linux-gnu.so".partition(".")[0]} <= {
        PurePosixPath(name).relative_to(SITE).parts[0].partition(".")[0] for name in compiled if name.startswith(SITE)
    }  # fmt: skip


def needed_by(data: bytes) -> set[str]:
    """The libraries that an ELF file of 64 bits names (DT_NEEDED)."""
    start, size, count = struct.unpack_from("<Q", data, 40)[0], *struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, start + each * size) for each in range(count)]
    found = set()
    for section in sections:
        if section[1] == 6:  # SHT_DYNAMIC
            names = sections[section[6]][4]
            for at in range(section[4], section[4] + section[5], 16):
                tag, value = struct.unpack_from("<QQ", data, at)
                if tag == 1:
                    found.add(data[names + value : data.index(b"\0", names + value)].decode())
    return found


def test_no_layer_tells_of_the_machine_that_built_it() -> None:
    machine = [str(ROOT), str(testbed.cache()), "/.building-", str(Path.home() / ".cache")]
    texts = [
        os.environ.get(name, "") for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_INDEX", "PIP_INDEX_URL")
    ]
    texts += [
        path.read_text()
        for path in (Path.home() / ".config/uv/uv.toml", Path("/etc/uv/uv.toml"), Path("/etc/pip.conf"))
        if path.exists()
    ]
    for host in re.findall(r"https?://([^\s\"'/]+)", " ".join(texts)):
        if not host.endswith(("pypi.org", "pythonhosted.org")):  # these are named by packages themselves
            machine += [host, *host.rpartition("@")[0].split(":")]
    wanted = re.compile(b"|".join(re.escape(each.encode()) for each in machine if each))
    for image in images(layout_of("default")).values():
        for name, data in image.files():
            found = wanted.search(data)
            assert found is None, f"{name}: {found}"
        assert not [name for name in image.members if name.endswith(("direct_url.json", "uv_cache.json"))]


def test_scanners_find_the_debian_packages_and_the_python_packages() -> None:
    locked = json.loads((SCRIPTS / "base.lock.json").read_bytes())["packages"]
    exported = subprocess.check_output(
        ["uv", "export", "--quiet", "--frozen", "--no-dev", "--extra=controller", "--extra=keyless", "--no-hashes",
         "--no-emit-project", "--no-annotate", "--no-header"], cwd=ROOT, text=True,
    )  # fmt: skip
    for architecture, image in images(layout_of("default")).items():
        status, python = {}, {}
        for name, data in image.files():
            if re.fullmatch(r"var/lib/dpkg/status\.d/[^/]+(?<!\.md5sums)", name):
                fields = dict(re.findall(r"^(\w+): (.*)$", data.decode(), re.MULTILINE))
                status[fields["Package"]] = fields["Version"]
            if name.endswith(".dist-info/METADATA"):
                fields = dict(re.findall(r"^(\w+): (.*)$", data.decode().partition("\n\n")[0], re.MULTILINE))
                python[re.sub(r"[-_.]+", "-", fields["Name"]).lower()] = fields["Version"]
        assert status.keys() == {each["name"] for each in locked if each["architecture"] == architecture}
        wanted = dict(re.findall(r"^([\w.-]+)==([^\s;]+)(?! ;[^\n]*win32)", exported, re.MULTILINE))
        assert {name: python.get(name) for name in wanted} == wanted
        assert set(python) - set(wanted) == {"provenance-chains"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_module_of_the_variant_can_be_imported_in_it(
    unpacked: Callable[[str], Path], temporary: Path, variant: str
) -> None:
    extras = images(layout_of(variant))["amd64"].config["config"]["Labels"]["provenance.chains/extras"]
    asked = """
import importlib, importlib.metadata as metadata, pkgutil, re, sys, warnings
warnings.simplefilter("ignore")
extras, everything = sys.argv[1].split(), sys.argv[2] == "full"
wanted, failed, count = set(), [], 0
for line in metadata.requires("provenance-chains"):
    extra = re.search(r"extra == ['\\"]([\\w-]+)", line)
    if extra is None or extra[1] in extras:
        wanted.add(re.match(r"[\\w.-]+", line)[0])
for name in sorted(wanted):
    files = [str(each) for each in metadata.files(name)]
    modules = {each.split("/")[0].split(".")[0] for each in files if each.endswith((".py", ".so"))}
    for module in sorted(modules - {"google", "examples", "tests", ".."}):
        importlib.import_module(module); count += 1
    if "google" in modules:
        service = sorted({"/".join(each.split("/")[:3]) for each in files if re.match(r"google/cloud/\\w+/__init__.py", each)})
        for each in service:
            importlib.import_module(each.replace("/", ".")); count += 1
for root in ("chains", "signers", "storage"):
    for module in pkgutil.walk_packages(importlib.import_module(root).__path__, f"{root}."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name); count += 1
        except Exception as error:
            failed.append((module.name, str(error)))
assert not everything or not failed, failed
print(count, len(failed), sorted({error for _, error in failed}))
"""
    done = inside(unpacked(variant), temporary, "python3", "-c", asked, extras, variant)
    assert done.returncode == 0, done.stderr
    count, failed, errors = done.stdout.split(" ", 2)
    assert int(count) > 300
    # modules of extras that are not there say which one is missing, or fail to find exactly its packages
    assert int(failed) < int(count) / 2, errors


def test_the_controller_of_the_smallest_variant_starts_and_says_what_it_lacks(
    unpacked: Callable[[str], Path], temporary: Path
) -> None:
    done = inside(unpacked("slim"), temporary, "chains", "controller")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert (
        "cluster" in done.stderr or "KUBERNETES_SERVICE_HOST" in done.stderr or "--kubeconfig" in done.stderr
    )


def test_a_run_is_attested_and_verified_in_the_image_with_a_read_only_root(
    unpacked: Callable[[str], Path], temporary: Path
) -> None:
    shutil.copy(ROOT / "examples" / "taskrun-image.json", temporary)

    def chains(*command: str) -> subprocess.CompletedProcess[str]:
        return inside(unpacked("default"), temporary, "python3", "-c",
                      "import os, sys; os.chdir('/tmp'); os.execvp('chains', ['chains', *sys.argv[1:]])", *command)  # fmt: skip

    attested = chains("attest", "taskrun-image.json")
    assert attested.returncode == 0, attested.stderr
    verified = chains("verify", "taskrun-image.json")
    assert verified.returncode == 0, verified.stderr
    assert "VERIFIED" in verified.stdout
    (temporary / "config.yaml").write_text("{}\n")
    report = json.loads(chains("doctor", "--config", "config.yaml", "--output", "json").stdout)
    details = {check["name"]: check["detail"] for check in report["checks"]}
    assert details["user"] == f"uid {UID}, chains"
    assert {details["home folder"], details["temporary files"]} == {"/tmp"}
    refused = inside(unpacked("default"), temporary, "python3", "-c", "open('/etc/new', 'w')")
    assert re.search(r"Read-only file system|Permission denied", refused.stderr)
    certificates = inside(
        unpacked("default"), temporary, "python3", "-c",
        "import ssl; print(len(ssl.create_default_context().get_ca_certs()))",
    )  # fmt: skip
    assert int(certificates.stdout) > 100


def test_a_root_folder_is_that_of_the_layout(unpacked: Callable[[str], Path], tmp_path: Path) -> None:
    build("--root", tmp_path / "root", "--arch", "amd64")
    assert tree(tmp_path / "root") == tree(unpacked("default"))


def tree(root: Path) -> dict[str, tuple[str, int, int, int, str]]:
    """Every path with its kind, mode, owner and content."""
    found = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else ""
        if stat.S_ISREG(status.st_mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        kind = stat.filemode(status.st_mode)[0]
        found[path.relative_to(root).as_posix()] = (
            kind,
            stat.S_IMODE(status.st_mode),
            status.st_uid,
            status.st_gid,
            content,
        )
    return found
