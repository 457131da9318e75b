"""The programs where a container sets nothing up: an unknown uid, no home, a read-only root, no name server."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_controller import CHAINS, Running, controller, finished
from tests.testbed.bare import UID, account, bare, why_not
from tests.testbed.cluster import ApiServer
from tests.testbed.images import Registry

__all__ = ["controller"]
pytestmark = pytest.mark.server
Json = Any
STORES = {
    "artifacts_taskrun_format": "slsa/v2alpha4",
    "artifacts_oci_storage": "oci",
    "artifacts_taskrun_storage": "oci",
}


@pytest.fixture(autouse=True, scope="module")
def _needs_namespaces() -> None:
    if reason := why_not():
        pytest.skip(reason)


def doctor(folder: Path, *words: str | Path, writable: bool = True) -> dict[str, Json]:
    """Return the checks by name; ``words`` are variables, then options."""
    variables = [word for word in words if "=" in str(word)]
    options = [word for word in words if word not in variables]
    command = [*variables, CHAINS, "doctor", "--output", "json", *options]
    done = subprocess.run(
        bare(folder, *command, writable=writable), check=False, capture_output=True, text=True, timeout=60
    )
    assert done.stdout, done.stderr
    return {check["name"]: check for check in json.loads(done.stdout)["checks"]}


def test_the_controller_works_as_an_unknown_user_without_a_home_a_folder_to_write_or_a_name_server(
    controller: Callable[..., Running], referrers_registry: Registry
) -> None:
    running = controller(**STORES, storage_oci_repository_insecure="true")
    variables = account(running.folder, running.server)
    command = [
        *variables, CHAINS, "controller", "--system-namespace", running.system, "--namespace", running.namespace,
        "--signing-secrets", "/tmp/keys", "--health-port", str(running.port),
    ]  # fmt: skip
    with running.log.open("ab") as log:
        running.process = subprocess.Popen(bare(running.folder, *command, writable=False), stderr=log)
    running.wait(lambda: running.ask("/readyz")[0] == 200)

    digest = referrers_registry.push_image("bare/app")
    run = finished(running.namespace, "build", f"{referrers_registry.host}/bare/app", digest)
    running.server.create_run(run)
    marks = running.attested("build")["metadata"]["annotations"]
    assert marks["chains.tekton.dev/signed"] == "true", marks
    assert f"sha256-{digest.removeprefix('sha256:')}.att" in referrers_registry.tags("bare/app")


def test_the_doctor_says_of_a_pod_with_nothing_what_is_missing_and_what_to_do(
    api_server: ApiServer, tmp_path: Path
) -> None:
    variables = account(tmp_path, api_server)
    checks = doctor(tmp_path, *variables, writable=False)
    assert checks["cluster"]["state"] == "ok", checks["cluster"]
    assert checks["user"] == {
        "name": "user", "state": "ok", "next_step": "",
        "detail": f"uid {UID}, which has no name here; none is needed",
    }  # fmt: skip
    home = checks["home folder"]
    assert home["state"] == "warning"
    assert home["detail"].startswith(f"there is none: HOME is not set, and uid {UID} is not in /etc/passwd")
    assert home["next_step"].startswith("set HOME")
    temporary = checks["temporary files"]
    assert temporary["state"] == "warning"
    assert temporary["detail"].startswith("No usable temporary directory found")
    assert "emptyDir at /tmp" in temporary["next_step"]
    assert checks["cache folder"]["state"] == "skipped"
    # the API server is known by its address
    assert checks["name server"]["detail"] == "no name needs to be resolved"


def test_the_doctor_says_what_keeps_a_configuration_that_needs_folders_and_names_from_working(
    tmp_path: Path,
) -> None:
    config = {
        "signers.x509.tuf.root": "/tmp/root.json", "signers.x509.tuf.mirror.url": "https://tuf.example.com",
        "transparency.enabled": "true", "transparency.url": "https://log.example.com",
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config))
    options = ["--config", "/tmp/config.json"]
    without = doctor(tmp_path, *options, writable=False)
    assert without["cache folder"]["state"] == without["temporary files"]["state"] == "failed"
    assert "neither XDG_CACHE_HOME nor HOME is set" in without["cache folder"]["detail"]
    assert without["name server"]["state"] == "failed"
    assert "log.example.com (" in without["name server"]["detail"]
    assert "tuf.example.com (" in without["name server"]["detail"]
    assert "dnsPolicy" in without["name server"]["next_step"]

    elsewhere = doctor(tmp_path, "HOME=/nobody", *options)
    assert elsewhere["home folder"]["detail"].startswith("/nobody cannot be read")
    assert elsewhere["cache folder"]["state"] == "failed"
    assert elsewhere["cache folder"]["detail"].startswith(
        "/nobody/.cache/provenance-chains cannot be written"
    )
    assert elsewhere["temporary files"] == {
        "name": "temporary files", "state": "ok", "detail": "/tmp", "next_step": "",
    }  # fmt: skip

    shipped = doctor(tmp_path, "HOME=/tmp", *options)
    assert shipped["home folder"]["state"] == "ok"
    assert shipped["cache folder"]["detail"] == "/tmp/.cache/provenance-chains"
    assert shipped["cache folder"]["state"] == "ok"


def test_a_token_of_vault_and_a_trusted_root_are_looked_for_without_a_home(tmp_path: Path) -> None:
    script = """
from signers.errors import SignerRejected
from signers.kms.service import KmsSettings
from signers.sigstore.tuf_root import fetch_trusted_root
from signers.kms.vault_login import VaultLogin
try:
    VaultLogin(KmsSettings()).token(None)
except SignerRejected as error:
    print(error)
try:
    fetch_trusted_root("https://tuf-repo-cdn.sigstore.dev")
except SignerRejected as error:
    print(error)
"""
    command = bare(tmp_path, f"PYTHONPATH={Path(__file__).parents[2]}", sys.executable, "-c", script)
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    vault, tuf = done.stdout.splitlines()
    assert vault.startswith("vault: no token: set signers.kms.auth.token-path")
    assert tuf.startswith("tuf: there is no cache folder")
