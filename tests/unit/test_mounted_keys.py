"""The manifests on the page on keys, for keys that others mount: they fit the pod of ``deploy/base``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from chains.cli.main import run as chains
from signers.open import open_signer
from tests.testbed.kustomize import build
from tests.testbed.mounted import Mounted

Json = Any
ROOT = Path(__file__).parents[2]
SECTION = (
    (ROOT / "docs" / "signers.md").read_text().partition("## Keys that others mount")[2].partition("\n## ")[0]
)
BLOCKS = [
    yaml.safe_load(text) for text in re.findall(r"^```yaml\n(.*?)^```$", SECTION, re.MULTILINE | re.DOTALL)
]
EXTERNAL, PROVIDER, PATCH = BLOCKS


def patched() -> Json:
    """Return the StatefulSet of the base with the patch of the page, as RFC 6902 says."""
    (found,) = (each for each in build(ROOT / "deploy" / "base") if each["kind"] == "StatefulSet")
    (step,) = PATCH
    assert step["op"] == "replace"
    *names, last = step["path"].strip("/").split("/")
    target = found
    for name in names:
        target = target[name]
    target[int(last)] = step["value"]
    return found


def test_the_volume_of_the_driver_takes_the_place_of_the_secret() -> None:
    pod = patched()["spec"]["template"]["spec"]
    names = [each["name"] for each in pod["volumes"]]
    assert names == ["signing-secrets", "registry-credentials", "tmp"]
    volume = pod["volumes"][0]
    assert set(volume) == {"name", "csi"}
    assert volume["csi"]["volumeAttributes"]["secretProviderClass"] == PROVIDER["metadata"]["name"]
    (mount,) = (each for each in pod["containers"][0]["volumeMounts"] if each["name"] == "signing-secrets")
    assert "subPath" not in mount
    (file,) = yaml.safe_load(PROVIDER["spec"]["parameters"]["objects"])
    assert file["objectName"] == EXTERNAL["spec"]["data"][0]["secretKey"] == "x509.pem"


def test_the_external_secret_makes_the_secret_that_the_base_mounts() -> None:
    (workload,) = (each for each in build(ROOT / "deploy" / "base") if each["kind"] == "StatefulSet")
    volume = workload["spec"]["template"]["spec"]["volumes"][0]
    assert volume["secret"]["secretName"] == EXTERNAL["spec"]["target"]["name"]
    assert EXTERNAL["metadata"]["namespace"] == workload["metadata"]["namespace"]


def test_a_key_that_is_swapped_as_a_kubelet_does_it_is_another_key_at_once(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert chains(["keys", "generate", str(tmp_path / f"{name}.pem")]) == 0
    mounted = Mounted(tmp_path / "mount")
    mounted.write({"x509.pem": (tmp_path / "one.pem").read_bytes()})
    path = tmp_path / "mount" / "x509.pem"
    assert path.is_symlink()
    first = open_signer(str(path)).keyid
    mounted.write({"x509.pem": (tmp_path / "two.pem").read_bytes()})
    assert open_signer(str(path)).keyid == open_signer(str(tmp_path / "two.pem")).keyid != first
    assert not (tmp_path / "mount" / "..data_tmp").exists()
