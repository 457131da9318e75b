"""The controller as a process with a key of Vault: not ready while Vault is away, and signing what waited."""

from __future__ import annotations

import json
import sys
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import pytest

from signers.formats.dsse import Envelope, verify_envelope
from signers.keys.public_key import PublicKey
from tests.integration.test_controller import Running, controller, finished
from tests.testbed.key_services import OUTAGE, public_pem
from tests.testbed.key_services.vault import vault

pytestmark = pytest.mark.server
__all__ = ["controller"]
SIGNERS = [f"artifacts.{artifact}.signer" for artifact in ("taskrun", "pipelinerun", "oci")]


def test_a_key_of_vault_signs_and_an_outage_delays(
    controller: Callable[..., Running],
    tmp_path: Path,
) -> None:
    with vault() as server:
        reference = server.reference("ecdsa-p256")
        (tmp_path / "token").write_text("root-token")
        server.faults.forever = OUTAGE
        running = controller(
            **{
                **dict.fromkeys(SIGNERS, "kms"),
                "artifacts.oci.storage": "tekton",
                "signers.kms.kmsref": reference,
                "signers.kms.auth.address": server.address,
                "signers.kms.auth.token-path": str(tmp_path / "token"),
            }
        )
        running.start(expected=503)
        running.server.create_run(finished(running.namespace, "waits"))
        running.wait(lambda: "the server did not answer" in running.log.read_text())
        assert running.signed("waits") == ""

        server.faults.clear()
        running.configure({"builder.id": "https://builder.example"})
        run = running.attested("waits")
        annotations = run["metadata"]["annotations"]
        assert annotations["chains.tekton.dev/signed"] == "true"
        envelope = b64decode(annotations[f"chains.tekton.dev/signature-taskrun-{run['metadata']['uid']}"])
        key = PublicKey.from_pem(public_pem(server.keys.versions[reference.removeprefix("hashivault://")][0]))
        assert verify_envelope(Envelope.from_bytes(envelope), [key]) == key
        assert json.loads(annotations["chains.tekton.dev/outcome"])

        server.faults.forever = OUTAGE
        running.server.create_run(finished(running.namespace, "later"))
        running.wait(lambda: "trying again later" in running.log.read_text())
        assert running.signed("later") == ""
        server.faults.clear()
        assert running.attested("later")["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true"
        assert "root-token" not in running.log.read_text()


def test_a_rotated_key_signs_from_then_on_in_the_same_process(
    controller: Callable[..., Running], tmp_path: Path
) -> None:
    with vault() as server:
        reference = server.reference("ecdsa-p256")
        (tmp_path / "token").write_text("root-token")
        running = controller(
            **{
                **dict.fromkeys(SIGNERS, "kms"),
                "artifacts.oci.storage": "tekton",
                "signers.kms.kmsref": reference,
                "signers.kms.auth.address": server.address,
                "signers.kms.auth.token-path": str(tmp_path / "token"),
            }
        )
        # five minutes otherwise, until it is asked whether the reference names another version
        sooner = "import sys, signers.kms.service, chains.cli.main; signers.kms.service.PUBLIC_KEY_SECONDS = 0; sys.exit(chains.cli.main.run(sys.argv[1:]))"
        running.program = (sys.executable, "-c", sooner)
        running.start()
        keys = []
        for name in ("before", "after"):
            running.server.create_run(finished(running.namespace, name))
            run = running.attested(name)
            signature = run["metadata"]["annotations"][
                f"chains.tekton.dev/signature-taskrun-{run['metadata']['uid']}"
            ]
            newest = server.keys.versions[reference.removeprefix("hashivault://")][-1]
            key = PublicKey.from_pem(public_pem(newest))
            assert verify_envelope(Envelope.from_bytes(b64decode(signature)), [key]) == key
            keys.append(key.keyid)
            if name == "before":
                server.rotate(reference)
                running.wait(lambda: "was rotated: it is opened again" in running.log.read_text())
                running.wait(lambda: running.log.read_text().count("a new configuration is in force") == 2)
        assert len(set(keys)) == 2
        assert running.stop() == 0
        assert "root-token" not in running.log.read_text()
