"""The images on the node, made of Debian's static busybox and of built programs, and pushed to its
registry.
"""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from shutil import which
from typing import Any

from tests.testbed.build import binary
from tests.testbed.images import CONFIG, LAYER, MANIFEST, Registry, descriptor, digest_of

TAG = "1"
TEKTON = (
    "controller",
    "webhook",
    "resolvers",
    "entrypoint",
    "nop",
    "workingdirinit",
    "sidecarlogresults",
)
ACCOUNTS = {
    "etc/passwd": b"root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532::/tmp:/bin/sh\n",
    "etc/group": b"root:x:0:\nnonroot:x:65532:\n",
}
Content = bytes | Path
Json = Any


def push_all(registry: Registry) -> None:
    """Push the images that test pods and Tekton use."""
    push(registry, "pause", {"pause": binary("pause")}, {"Entrypoint": ["/pause"], "User": "65535:65535"})
    push_shell(registry, "busybox")
    push_shell(registry, "crane", programs={"bin/crane": binary("crane")})
    for name in TEKTON:
        # as Tekton's own images: one program under /ko-app
        config = {"Entrypoint": [f"/ko-app/{name}"], "User": "65532:65532"}
        push(registry, f"tekton-{name}", {f"ko-app/{name}": binary(f"tekton-{name}"), **ACCOUNTS}, config)


def push_shell(
    registry: Registry,
    name: str,
    environment: Sequence[str] = (),
    programs: Mapping[str, Path] | None = None,
) -> str:
    """Push an image with a shell, ``push`` (``node/tools/push``), these variables and these static programs by
    their path; return its digest.
    """
    busybox = which("busybox")
    assert busybox is not None
    files: dict[str, Content] = {
        "bin/busybox": Path(busybox),
        "bin/push": binary("step-push"),
        **ACCOUNTS,
        **(programs or {}),
    }
    # its wget and nc crash (names are looked up by libraries that a static program has not): steps use push
    applets = subprocess.check_output([busybox, "--list"], text=True).split()
    links = {f"bin/{applet}": "busybox" for applet in applets if applet != "busybox"}
    return push(registry, name, files, {"Cmd": ["/bin/sh"]}, links=links, environment=environment)


def push(
    registry: Registry,
    name: str,
    files: Mapping[str, Content],
    config: Json,
    *,
    links: Mapping[str, str] | None = None,
    environment: Sequence[str] = (),
) -> str:
    """Push an image of one layer as ``NAME:1`` and return its digest, which depends only on the arguments."""
    archive = _archive(files, links or {})
    layer = gzip.compress(archive, 1, mtime=0)
    described = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [digest_of(archive)]},
        "config": {"Env": ["PATH=/bin:/usr/bin:/ko-app", *environment], **config},
    }
    data = json.dumps(described).encode()
    for blob in (layer, data):
        registry.push_blob(name, blob)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": descriptor(CONFIG, data),
        "layers": [descriptor(LAYER, layer)],
    }
    return registry.push_manifest(name, json.dumps(manifest).encode(), MANIFEST, TAG)


def push_layout(registry: Registry, name: str, tag: str, layout: Path) -> str:
    """Push the index of an OCI image layout, with the images in it; return its digest."""
    (index,) = json.loads((layout / "index.json").read_bytes())["manifests"]
    data = _blob(layout, index["digest"])
    for image in json.loads(data)["manifests"]:
        manifest = _blob(layout, image["digest"])
        described = json.loads(manifest)
        for each in (described["config"], *described["layers"]):
            registry.push_blob(name, _blob(layout, each["digest"]))
        registry.push_manifest(name, manifest, image["mediaType"])
    return registry.push_manifest(name, data, index["mediaType"], tag)


def _blob(layout: Path, digest: str) -> bytes:
    return (layout / "blobs" / digest.replace(":", "/")).read_bytes()


def _archive(files: Mapping[str, Content], links: Mapping[str, str]) -> bytes:
    output = io.BytesIO()
    folders = {str(parent) for path in (*files, *links) for parent in PurePosixPath(path).parents}
    with tarfile.open(fileobj=output, mode="w") as archive:
        for folder in sorted((folders | {"tmp", "etc", "root"}) - {"."}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
            archive.addfile(entry)
        for path, content in files.items():
            data = content if isinstance(content, bytes) else content.read_bytes()
            entry = tarfile.TarInfo(path)
            entry.mode, entry.size = 0o755, len(data)
            archive.addfile(entry, io.BytesIO(data))
        for path, target in links.items():
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return output.getvalue()
