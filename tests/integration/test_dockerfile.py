"""``deploy/Dockerfile``, built with buildah, gives the root folder that ``deploy/image/build.py`` gives elsewhere.

The image that runs the script in the Dockerfile comes from a registry that may not be reachable. A substitute with
its name is made of the image itself, with pip. Package indexes that the build needs are read from this machine's
configuration and mounted.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.testbed.build import cache
from tests.testbed.node.shipped_image import ROOT, SCRIPTS, TIME, run, shipped_image

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PIP = "pip==25.3"
SITE = "usr/local/lib/python3.11/dist-packages"


class Buildah:
    """Buildah with a storage of its own."""

    def __init__(self, folder: Path) -> None:
        self._storage = ("--root", folder / "storage", "--runroot", folder / "run", "--storage-driver", "vfs")

    def __call__(self, *command: str | Path) -> str:
        # mounts of its own, so that none is left on the machine
        return run(
            ["unshare", "--mount", "--propagation", "private", "buildah", *self._storage, *command]
        ).strip()


def unpack(layout: Path, root: Path) -> dict[str, Any]:
    """Unpack the amd64 image of a layout; return its configuration."""

    def blob(digest: str) -> Path:
        return layout / "blobs" / digest.replace(":", "/")

    (found,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    document = json.loads(blob(found["digest"]).read_bytes())
    if "manifests" in document:
        (found,) = [each for each in document["manifests"] if each["platform"]["architecture"] == "amd64"]
        document = json.loads(blob(found["digest"]).read_bytes())
    root.mkdir()
    for layer in document["layers"]:
        subprocess.run(["tar", "-xpf", blob(layer["digest"]), "-C", root], check=True)
    config: dict[str, Any] = json.loads(blob(document["config"]["digest"]).read_bytes())["config"]
    return config


def tree(root: Path) -> dict[str, tuple[object, ...]]:
    """Every path with its kind and mode, owner, time and content."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        status = path.lstat()
        if path.is_symlink():
            content = str(path.readlink())
        else:
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        name = path.relative_to(root).as_posix()
        found[name] = (f"{status.st_mode:o}", status.st_uid, status.st_gid, content)
        if path.is_file() and not path.is_symlink():
            found[name] += (int(status.st_mtime),)
    return found


def configuration(folder: Path) -> Iterator[str]:
    """Yield options that mount this machine's settings of pip, uv and caches where the build looks for them."""
    pip, uv = folder / "pip.conf", folder / "uv.toml"
    index = (
        os.environ.get("UV_DEFAULT_INDEX")
        or os.environ.get("UV_INDEX_URL")
        or os.environ.get("PIP_INDEX_URL")
    )
    pip.write_text(
        f"[global]\ntimeout = 180\ncert = {CERTIFICATES}\n" + (f"index-url = {index}\n" if index else "")
    )
    uv.write_text("native-tls = true\n" + (f'index-url = "{index}"\n' if index else ""))
    uv_cache = run(["uv", "cache", "dir"]).strip()
    mounts = [(pip, "/etc/pip.conf"), (uv, "/etc/uv/uv.toml")]
    mounts += [(CERTIFICATES, str(CERTIFICATES))] if CERTIFICATES.exists() else []
    yield from (f"--volume={path}:{at}:ro" for path, at in mounts)
    yield f"--volume={uv_cache}:/root/.cache/uv"
    # packages are compared with the lock whenever they are used
    yield f"--volume={cache() / 'image' / 'debs'}:/root/.cache/provenance-chains/image/debs"


@pytest.fixture
def scratch() -> Iterator[Path]:
    # not below pytest's folder, which is kept: the storage is large
    with tempfile.TemporaryDirectory(prefix="dockerfile-") as folder:
        yield Path(folder)


def test_the_dockerfile_gives_the_same_files_and_the_same_configuration(scratch: Path) -> None:
    expected, builder = scratch / "expected", scratch / "builder"
    config = unpack(shipped_image(), expected)
    # the image that runs the script: Python and pip
    unpack(shipped_image(), builder)
    (builder / "usr/lib/python3.11/EXTERNALLY-MANAGED").unlink(missing_ok=True)
    run(["uv", "pip", "install", "--quiet", "--target", builder / SITE, PIP])
    archive = scratch / "builder.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(builder, ".")
    buildah = Buildah(scratch)
    name = re.search(r"^ARG BUILDER=(\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    assert name is not None
    container = buildah("from", "scratch")
    buildah("add", "--quiet", container, archive, "/")
    buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin", "--env", "HOME=/root", container)
    buildah("commit", "--quiet", "--rm", container, name[1])

    buildah(
        "bud", "--isolation=chroot", "--network=host", "--pull-never", "--format=oci", *configuration(scratch),
        f"--build-arg=SOURCE_DATE_EPOCH={TIME}", f"--build-arg=MIRROR={' '.join(mirrors())}",
        f"--file={DOCKERFILE}", f"--ignorefile={DOCKERFILE}.dockerignore", "--tag=chains", ROOT,
    )  # fmt: skip
    buildah("push", "--quiet", "chains", f"oci:{scratch / 'layout'}")
    made = unpack(scratch / "layout", scratch / "made")

    assert tree(scratch / "made") == tree(expected)
    keys = ("User", "ExposedPorts", "Env", "Entrypoint", "Cmd")
    assert {key: made.get(key) for key in keys} == {key: config[key] for key in keys}


def mirrors() -> list[str]:
    asked = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); import lock; print(*lock.mirrors())"
    return run(["python3", "-c", asked]).split()
