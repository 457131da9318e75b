"""Faults at the worst moments, on real servers: at the end every run has its evidence once, or a reason.

What counts is read from the registry, with cosign, not from our own annotations.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from signers.kms.service import KmsSettings
from signers.open import open_signer
from tests.integration.test_controller import NO_LOG, Running, controller, finished
from tests.testbed import servers
from tests.testbed.cluster import MERGE, ApiError, ApiServer
from tests.testbed.cosign import Cosign
from tests.testbed.faulty_api import FaultyApi, faulty_api, status
from tests.testbed.images import Registry
from tests.testbed.key_services import OUTAGE
from tests.testbed.key_services.vault import vault

__all__ = ["controller"]
pytestmark = pytest.mark.server
Json = Any
A_MINUTE = 60.0
SETTINGS = {
    "artifacts_taskrun_format": "slsa/v2alpha4",
    "artifacts_taskrun_storage": "oci",
    "storage_oci_encoding__format": "both",
}


class Fleet:
    """Finished runs, each with an image of its own in a registry."""

    def __init__(self, running: Running, registry: Registry) -> None:
        self.running, self.registry = running, registry
        self.images: dict[str, tuple[str, str]] = {}

    def add(self, count: int, start: str = "run") -> list[str]:
        """Create runs and return their names."""
        names = [f"{start}-{number}" for number in range(count)]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self._add, names))
        return names

    def _add(self, name: str) -> None:
        repository = f"{self.running.namespace}/{name}"
        digest = self.registry.push_image(repository)
        image = f"{self.registry.host}/{repository}"
        self.running.server.create_run(finished(self.running.namespace, name, image, digest))
        self.images[name] = repository, digest

    def wait(self, seconds: float = 120) -> None:
        """Wait until every run is marked, by one listing at a time."""
        path = f"/apis/tekton.dev/v1/namespaces/{self.running.namespace}/taskruns"

        def unmarked() -> int:
            items = self.running.server.request("GET", path + "?labelSelector=!provenance.chains/done")[
                "items"
            ]
            return len(items)

        deadline = time.monotonic() + seconds
        while left := unmarked():
            assert time.monotonic() < deadline, f"{left} runs: {self.running.log.read_text()[-3000:]}"
            time.sleep(0.5)

    def check(self, cosign: Cosign, names: list[str] | None = None) -> None:
        """Fail unless every run has each kind of evidence exactly once in each form, and cosign verifies it."""
        key = self.running.keys / "x509.pub"

        def one(name: str) -> None:
            repository, digest = self.images[name]
            run = self.running.run("TaskRun", name)
            assert run["metadata"]["annotations"]["chains.tekton.dev/signed"] == "true", name
            tag = f"sha256-{digest.removeprefix('sha256:')}"
            counts = {
                form: len(json.loads(self.registry.manifest(repository, f"{tag}.{form}"))["layers"])
                for form in ("att", "sig")
            }
            assert counts == {"att": 2, "sig": 1}, (
                name
            )  # provenance and execution report, the image's signature
            answer = self.registry.request("GET", f"/v2/{repository}/referrers/{digest}")
            kinds = [
                item["annotations"]["dev.sigstore.bundle.predicateType"]
                for item in json.loads(answer.body)["manifests"]
            ]
            assert len(kinds) == len(set(kinds)) == 3, (name, kinds)
            reference = f"{self.registry.host}/{repository}@{digest}"
            cosign("verify-attestation", "--key", key, NO_LOG, "--type", "slsaprovenance1", reference)
            cosign("verify", "--key", key, NO_LOG, reference)

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(one, names or self.images))


@pytest.fixture
def behind(api_server: ApiServer) -> Iterator[tuple[FaultyApi, ApiServer]]:
    with faulty_api(api_server) as found:
        yield found


def begin(
    controller: Callable[..., Running], behind: tuple[FaultyApi, ApiServer], registry: Registry
) -> Fleet:
    running = controller(**SETTINGS)
    running.seen_as = behind[1]
    return Fleet(running, registry)


@pytest.mark.timeout(900)
def test_killed_fifty_times_over_five_hundred_runs_it_signs_each_once(
    controller: Callable[..., Running], referrers_registry: Registry, cosign: Cosign
) -> None:
    fleet = Fleet(controller(**SETTINGS), referrers_registry)
    fleet.add(500)
    chance = random.Random(7)
    for _ in range(50):
        fleet.running.start()
        time.sleep(chance.uniform(0.3, 1.0))  # the backlog begins half a second after the list
        fleet.running.stop(signal.SIGKILL)
    fleet.running.start()
    fleet.wait()
    fleet.check(cosign)


@pytest.mark.timeout(600)
def test_a_registry_that_stops_for_a_minute_delays_and_loses_nothing(
    controller: Callable[..., Running], cosign: Cosign, tmp_path: Path
) -> None:
    folder = tmp_path / "registry"
    folder.mkdir()
    running = controller(**SETTINGS | {"storage_oci_encoding__format": "dsse"})
    with servers.distribution(folder) as registry:
        fleet = Fleet(running, registry)
        names = fleet.add(30)
        port = int(registry.host.rpartition(":")[2])
    running.start()
    time.sleep(A_MINUTE)
    assert all(running.signed(name) == "" for name in names)
    with servers.distribution(folder, port=port) as registry:
        fleet.wait(180)
        for name in names:
            repository, digest = fleet.images[name]
            reference = f"{registry.host}/{repository}@{digest}"
            key = running.keys / "x509.pub"
            cosign("verify-attestation", "--key", key, NO_LOG, "--type", "slsaprovenance1", reference)
            manifest = json.loads(
                registry.manifest(repository, f"sha256-{digest.removeprefix('sha256:')}.att")
            )
            assert len(manifest["layers"]) == 2


@pytest.mark.timeout(600)
def test_an_api_server_away_for_a_minute_is_waited_for(
    controller: Callable[..., Running],
    behind: tuple[FaultyApi, ApiServer],
    referrers_registry: Registry,
    cosign: Cosign,
) -> None:
    fleet = begin(controller, behind, referrers_registry)
    before = fleet.add(40, "before")
    fleet.running.start()
    fleet.running.attested(before[0])
    behind[0].down = True
    during = fleet.add(20, "during")
    time.sleep(A_MINUTE)
    assert all(fleet.running.signed(name) == "" for name in during)
    behind[0].down = False
    after = fleet.add(5, "after")
    fleet.wait(120)
    fleet.check(cosign, [*before, *during, *after])


@pytest.mark.timeout(600)
def test_a_key_service_that_stops_for_a_minute_delays_and_signs_with_no_other_key(
    controller: Callable[..., Running], referrers_registry: Registry, cosign: Cosign, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("root-token\n")
    with vault() as service:
        reference = service.reference("ecdsa-p256")
        running = controller(
            **SETTINGS,
            artifacts_taskrun_signer="kms",
            artifacts_oci_signer="kms",
            signers_kms_kmsref=reference,
            signers_kms_auth_address=service.address,
            signers_kms_auth_token__path=str(tmp_path / "token"),
        )
        fleet = Fleet(running, referrers_registry)
        settings = KmsSettings(address=service.address, token="root-token")
        (running.keys / "x509.pub").write_bytes(open_signer(reference, settings=settings).public_pem)
        before = fleet.add(5, "before")
        running.start()
        for name in before:
            running.attested(name)
        service.faults.forever = OUTAGE
        during = fleet.add(20, "during")
        time.sleep(A_MINUTE)
        assert all(running.signed(name) == "" for name in during)
        service.faults.clear()
        fleet.wait(180)
        fleet.check(cosign)


def test_410_on_a_list_page_and_in_a_watch_are_recovered_from(
    controller: Callable[..., Running],
    behind: tuple[FaultyApi, ApiServer],
    referrers_registry: Registry,
    cosign: Cosign,
) -> None:
    fleet = begin(controller, behind, referrers_registry)
    small = behind[0].on(
        r"GET .*/taskruns\?.*limit=", times=10**6, rewrite=lambda path: path.replace("limit=500", "limit=5")
    )
    expired = behind[0].on(r"GET .*/taskruns\?.*continue=[^&]", code=410, reason="Expired")
    gone = behind[0].on(
        r"GET .*/taskruns\?.*watch=true", event={"type": "ERROR", "object": status(410, "Gone")}
    )
    broken = behind[0].on(
        r"GET .*/taskruns\?.*watch=true", event={"type": "ERROR", "object": status(500, "InternalError")}
    )
    fleet.add(20, "listed")
    fleet.running.start()
    fleet.wait()
    fleet.running.wait(lambda: gone.seen == broken.seen == 1)
    fleet.add(5, "later")
    fleet.wait()
    assert expired.seen == 1
    assert small.seen > 2
    fleet.check(cosign)


def test_conflicts_are_read_again_and_end_in_one_attestation(
    controller: Callable[..., Running],
    behind: tuple[FaultyApi, ApiServer],
    referrers_registry: Registry,
    cosign: Cosign,
) -> None:
    fleet = begin(controller, behind, referrers_registry)
    made_up = behind[0].on(r"PATCH .*/taskruns/run-[0-4]$", times=8, code=409, reason="Conflict")
    touched = 0

    def touch(path: str) -> None:
        nonlocal touched
        touched += 1
        body = {"metadata": {"annotations": {"example.com/touched": str(touched)}}}
        fleet.running.server.request("PATCH", path, body, kind=MERGE)

    # a run updated while it is attested: the patch is for a version that is no longer there
    updated = behind[0].on(r"PATCH .*/taskruns/run-[5-9]$", times=7, before=touch)
    fleet.add(10)
    fleet.running.start()
    fleet.wait()
    assert (made_up.seen, updated.seen) == (8, 7)
    fleet.check(cosign)


def test_runs_deleted_in_flight_hurt_nobody_else(
    controller: Callable[..., Running],
    behind: tuple[FaultyApi, ApiServer],
    referrers_registry: Registry,
    cosign: Cosign,
) -> None:
    fleet = begin(controller, behind, referrers_registry)

    def delete(path: str) -> None:
        fleet.running.server.request("DELETE", path)

    before_patch = behind[0].on(r"PATCH .*/taskruns/run-[0-5]$", times=6, before=delete)
    fleet.add(12)
    fleet.running.start()
    fleet.wait()
    fleet.check(cosign, [f"run-{number}" for number in range(6, 12)])
    assert before_patch.seen == 6
    for number in range(6):
        with pytest.raises(ApiError, match="404"):
            fleet.running.run("TaskRun", f"run-{number}")
    assert "unexpected failure" not in fleet.running.log.read_text()


def test_a_busy_api_server_is_asked_again(
    controller: Callable[..., Running],
    behind: tuple[FaultyApi, ApiServer],
    referrers_registry: Registry,
    cosign: Cosign,
) -> None:
    fleet = begin(controller, behind, referrers_registry)
    busy = behind[0].on(r"(GET|PATCH) .*/taskruns/run-", times=10, code=429, reason="TooManyRequests")
    broken = behind[0].on(r"(GET|PATCH) .*/taskruns/run-", times=5, code=503, reason="ServiceUnavailable")
    fleet.add(10)
    fleet.running.start()
    fleet.wait()
    assert (busy.seen, broken.seen) == (10, 5)
    fleet.check(cosign)
