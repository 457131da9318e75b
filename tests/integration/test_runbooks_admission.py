"""The runbooks of admission are tried: what they describe is brought about, seen by a real API server, and mended.

The rows of the tables *Symptoms* are looked for where they say they are. The fenced ``sh`` blocks are run by a shell with
the real kubectl; its ``logs``, which needs a kubelet, prints the server's log.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from chains.admission.authority import new_authority, new_leaf
from tests.integration.test_admission import BUILDER
from tests.integration.test_deploy import apply
from tests.interop.attested import Attested, attest_image
from tests.testbed.admission_server import AdmissionServer, pod
from tests.testbed.certificates import Certificates
from tests.testbed.cluster import ApiError, ApiServer
from tests.testbed.commands import Command
from tests.testbed.images import Registry
from tests.testbed.kustomize import build
from tests.testbed.registry_proxy import RegistryProxy, nothing, proxy_in_thread
from tests.unit.test_deploy import (
    API_SERVER,
    DEPLOY,
    RULES,
    RUNBOOKS,
    dashboard_expressions,
    expressions_of_alerts,
    metrics_of,
)

pytestmark = pytest.mark.server
SPACE, CONFIGURATION = "alerted", "chains-admission"
DAY = 86400
NEEDS_A_KUBELET = re.compile(r"kubectl\b.* (describe|top|rollout) ")
"""What is not run here."""


@dataclass(frozen=True)
class Place:
    """An admission server in trouble, and whoever reads the runbooks to it."""

    server: AdmissionServer
    api: ApiServer
    folder: Path
    good: Attested
    proxy: RegistryProxy
    environment: dict[str, str]

    def create(self, image: str = "") -> str:
        """Try to create a pod, as a dry run; return why it is refused, empty if it is not."""
        return self._create("?dryRun=All", image)

    def _create(self, query: str, image: str) -> str:
        path = f"/api/v1/namespaces/{SPACE}/pods"
        try:
            self.api.request("POST", path + query, pod("tried", image or self.good.reference))
        except ApiError as error:
            return str(json.loads(error.text)["message"])
        return ""

    def deny(self, image: str) -> str:
        """Try to create a pod, which counts, and return why it is denied."""
        told = self._create("", image)
        assert told
        return told

    def admits(self) -> None:
        self.server.wait(lambda: self.create() == "")

    def guard(self) -> None:
        """Register the shipped configuration, and wait until the API server asks."""
        self.server.register("validating", CONFIGURATION, {"matchLabels": {"alerted": "true"}}, timeout=10)
        self.server.wait(lambda: "denied the request" in self.create("registry.example.com/any:v1"))

    def samples(self, *, of_api_server: bool = False) -> list[Sample]:
        status, text = (200, self.api_metrics()) if of_api_server else self.server.ask("/metrics")
        families = text_string_to_metric_families(text) if status == 200 else ()
        return [sample for family in families for sample in family.samples]

    def api_metrics(self) -> str:
        """Return the metrics of the API server that alerts use, alone: it has a megabyte of others."""
        text = self.kubectl_raw("/metrics")
        return "\n".join(line for line in text.splitlines() if line.startswith(tuple(API_SERVER))) + "\n"

    def kubectl_raw(self, path: str) -> str:
        done = subprocess.run(
            ["kubectl", "get", "--raw", path], env=self.environment, text=True, capture_output=True,
            timeout=60, check=True,
        )  # fmt: skip
        return done.stdout

    def shell(self, runbook: str, *, only: str = "", without: str = "kubectl delete") -> str:
        """Run the blocks of a page that have ``only`` in them, and not ``without``; return what they print."""
        text = (RUNBOOKS / f"{runbook}.md").read_text()
        blocks = re.findall(r"^ *```sh\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
        chosen = [block for block in blocks if only in block and not (without and without in block)]
        assert chosen, runbook
        printed = ""
        for block in chosen:
            lines = [
                line
                for line in block.replace("NAMESPACE", SPACE).splitlines()
                if not NEEDS_A_KUBELET.search(line)
            ]
            done = subprocess.run(
                ["bash", "-uc", "\n".join(lines)], cwd=self.folder, env=self.environment, text=True,
                capture_output=True, timeout=120, check=False,
            )  # fmt: skip
            assert not re.search("unknown (command|flag)|invalid choice|no such option", done.stderr), (
                done.stderr
            )
            assert "Traceback" not in done.stderr, done.stderr
            printed += done.stdout + done.stderr
        return printed

    def shows(self, runbook: str, image: str = "") -> None:
        """Wait until everything that the runbook says can be seen is seen."""
        text = (RUNBOOKS / f"{runbook}.md").read_text()
        rows = re.findall(
            r"^\| ([^|]+) \| (.+) \|$", text.partition("## Symptoms")[2].partition("\n## ")[0], re.MULTILINE
        )
        assert len(rows) > 1, runbook
        for where, what in rows[1:]:
            try:
                self.server.wait(lambda where=where, what=what: self._sees(where, what, image))  # type: ignore[misc]
            except AssertionError as error:
                raise AssertionError(f"{runbook}: {where}: {what}: {error}") from None

    def _sees(self, where: str, what: str, image: str) -> bool:
        quoted = re.findall(r"`([^`]+)`", what)
        if where == "log":
            return any(
                all(each in line for each in quoted) for line in self.server.log.read_text().splitlines()
            )
        if where == "kubectl":
            told = self.create(image)
            return all(each in told for each in quoted)
        assert where in {"metric", "metric of the API server"}, where
        return self._metric(quoted[0], what, self.samples(of_api_server=where != "metric"))

    def _metric(self, quoted: str, what: str, samples: list[Sample]) -> bool:
        name = quoted.partition("{")[0].partition(" ")[0]
        labels = dict(re.findall(r'(\w+)="([^"]+)"', quoted))
        found = [each for each in samples if each.name == name and labels.items() <= each.labels.items()]
        if "is missing" in what:
            return not found
        values = [each.value for each in found]
        if expected := re.search(r" ([\d.]+)$", quoted):
            return values == [float(expected[1])]
        if "grows" in what:
            return sum(values) > 0
        if "in the past" in what:
            return min(values) < time.time()
        if "14 days ahead" in what:
            return 0 < min(values) - time.time() < 14 * DAY
        assert "95th percentile is above 1" in what, what
        of = {
            bound: sum(
                each.value
                for each in found
                if float(each.labels["le"]) == bound and each.labels["webhook"] == "validate"
            )
            for bound in (1.0, float("inf"))
        }
        return of[float("inf")] - of[1.0] >= 1


@pytest.fixture(scope="module")
def place(
    api_server: ApiServer,
    kubectl: Command,
    referrers_registry: Registry,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("alerted")
    for manifest in [*build(DEPLOY / "admission"), *build(DEPLOY / "admission" / "certificates")]:
        apply(api_server, manifest)
    api_server.request(
        "POST", "/api/v1/namespaces", {"metadata": {"name": SPACE, "labels": {"alerted": "true"}}}
    )
    good = attest_image(referrers_registry, folder, "alerted/good")
    with proxy_in_thread(referrers_registry.url) as proxy:
        server = AdmissionServer(folder / "server", api_server)
        trust = {
            "name": "tekton",
            "signer": {"keys": [{"ref": str(good.public_key)}]},
            "builderId": BUILDER,
            "maxLevel": 2,
        }
        images = [f"{referrers_registry.host}/**", f"{proxy.host}/**"]
        server.write_policy(
            "policy", {"match": {"images": images}, "mode": "enforce", "cacheSeconds": 0, "trust": [trust]}
        )
        found = Place(server, api_server, folder, good, proxy, shell_of(folder, server, kubectl))
        try:
            server.start()
            found.guard()
            yield found
        finally:
            server.close()


def shell_of(folder: Path, server: AdmissionServer, kubectl: Command) -> dict[str, str]:
    """Write a kubectl that prints the server's log; return the environment in which a shell finds it."""
    program = folder / "bin" / "kubectl"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\ncase " $* " in *" logs "*) exec cat "{server.log}";; esac\nexec "{kubectl.program}" "$@"\n'
    )
    program.chmod(0o755)
    path = os.pathsep.join([str(program.parent), str(Path(sys.executable).parent), os.environ["PATH"]])
    kubeconfig = kubectl.settings["KUBECONFIG"]
    return {"PATH": path, "HOME": str(folder), "KUBECONFIG": kubeconfig, "CHAINS_KUBECONFIG": kubeconfig}


def renewals(place: Place) -> set[str]:
    items = place.api.request("GET", "/apis/batch/v1/namespaces/chains-admission/jobs")["items"]
    return {each["spec"]["template"]["spec"]["serviceAccountName"] for each in items}


def test_refused_policies_show_as_the_runbook_says_and_the_last_good_ones_stay(place: Place) -> None:
    broken = place.server.policies / "broken.yaml"
    broken.write_text("kind: Policy\n")
    (place.folder / "policy.yaml").write_text(broken.read_text())
    place.shows("ChainsAdmissionPoliciesRefused")
    printed = place.shell("ChainsAdmissionPoliciesRefused")
    assert "broken.yaml" in printed, "the log names the file"
    assert "policy.yaml" in printed.partition("\n")[2], "the linter says what is wrong"
    place.admits()
    broken.unlink()
    place.server.wait(lambda: place.server.metric("chains_admission_policies_refused") == 0)
    assert '"the policies in force are the newest again"' in place.server.log.read_text()


def test_a_refused_certificate_shows_as_the_runbook_says_and_the_last_good_one_stays(place: Place) -> None:
    (place.server.tls / "tls.key").write_text("no key")
    place.shows("ChainsAdmissionCertificateRefused")
    assert "tls" in place.shell("ChainsAdmissionCertificateRefused", only="logs")
    assert "job.batch/renew-" in place.shell("ChainsAdmissionCertificateRefused", only="create job")
    assert renewals(place) == {"chains-admission-certificates"}
    place.admits()
    place.server.renew(place.server.certificates)
    place.server.wait(lambda: place.server.metric("chains_admission_certificate_refused") == 0)
    assert "a new certificate is in use" in place.server.log.read_text()


def test_a_certificate_near_its_end_and_after_it_shows_as_the_runbooks_say(place: Place) -> None:
    good = place.server.certificates
    place.shows("ChainsAdmissionCertificateEnds")  # one of the testbed is valid for a day
    assert "chains-admission-certificates" in place.shell(
        "ChainsAdmissionCertificateEnds", only="get cronjob"
    )
    ended = certificate_that_ended(place.folder / "ended")
    place.server.renew(ended)
    place.server.wait(
        lambda: place.server.metric("chains_admission_certificate_expires_seconds") == ended.expires
    )
    place.server.trust(good, ended)  # so the API server makes a new connection
    place.shows("ChainsAdmissionCertificateEnded")
    place.shows("ChainsAdmissionUnreachable")
    assert "chains-admission-certificates" in place.shell(
        "ChainsAdmissionCertificateEnded", only="get cronjob"
    )
    opens(place, "ChainsAdmissionCertificateEnded")
    place.server.renew(good)
    place.server.wait(
        lambda: place.server.metric("chains_admission_certificate_expires_seconds") == good.expires
    )
    place.guard()
    place.admits()


def certificate_that_ended(folder: Path) -> Certificates:
    folder.mkdir()
    then = datetime.now(UTC) - timedelta(days=400)
    authority = new_authority(then)
    leaf = new_leaf(authority, ["chains-admission.chains-admission.svc"], then, 365)
    files = Certificates(folder / "ca.pem", folder / "server.pem", folder / "server.key")
    for file, data in (
        (files.ca_file, authority.certificate), (files.cert_file, leaf.certificate), (files.key_file, leaf.key)
    ):  # fmt: skip
        file.write_bytes(data)
    return files


def opens(place: Place, runbook: str) -> None:
    """Open the cluster as a runbook says, and see that everything may run."""
    assert place.create() != ""
    assert f'"{CONFIGURATION}" deleted' in place.shell(runbook, only="kubectl delete", without="")
    place.server.wait(lambda: place.create("registry.example.com/any:v1") == "")
    place.server.unregister()


def test_a_server_that_is_gone_locks_out_as_the_runbooks_say_and_they_open_the_cluster(place: Place) -> None:
    assert place.server.stop() == 0
    for runbook in ("ChainsAdmissionAbsent", "ChainsAdmissionUnreachable"):
        place.shows(runbook)
    assert "admission webhook" in place.shell("ChainsAdmissionAbsent", only="chains doctor")
    asked = place.shell("ChainsAdmissionUnreachable", only="--dry-run=server")
    assert 'failed calling webhook "images.admission.provenance.chains"' in asked
    assert "connection refused" in asked
    opens(place, "ChainsAdmissionAbsent")
    place.server.start()
    place.guard()
    place.admits()


def test_a_server_without_policies_counts_as_absent(place: Place) -> None:
    assert place.server.stop() == 0
    policy = place.server.policies / "policy.json"
    policy.rename(place.folder / "policy.json")
    place.server.start(ready=False)
    assert place.server.metric("chains_admission_certificate_expires_seconds") > 0
    assert "chains_admission_policies" not in {each.name for each in place.samples()}
    (place.folder / "policy.json").rename(policy)
    place.server.wait(lambda: place.server.ask("/readyz")[0] == 200)
    place.admits()


def test_a_registry_that_is_away_or_slow_shows_as_the_runbooks_say(place: Place) -> None:
    image = f"{place.proxy.host}/alerted/good@{place.good.digest}"

    async def refuse(_: web.Request) -> web.StreamResponse:
        return web.Response(status=503)

    async def wait(_: web.Request) -> None:
        await asyncio.sleep(1.1)

    place.proxy.fault = refuse
    try:
        place.deny(image)
        place.shows("ChainsAdmissionUndecided", image)
        assert "store_unavailable" in place.shell("ChainsAdmissionUndecided")
        place.proxy.fault = wait
        # an image that was not asked about before: its answer takes longer than one look at the registry
        place.create(image.replace("/good@", "/slow@"))
        place.shows("ChainsAdmissionSlow")
        place.shell("ChainsAdmissionSlow")
    finally:
        place.proxy.fault = nothing
    place.server.wait(lambda: place.create(image) == "")


def test_alerts_and_dashboard_name_what_the_server_and_the_api_server_expose(place: Place) -> None:
    place.deny("registry.example.com/any:v1")
    exposed = {each.name for each in place.samples()}
    expressions = [*expressions_of_alerts(RULES[1:]), *dashboard_expressions(["admission-monitoring"])]
    named = {name for each in expressions for name in metrics_of(each)}
    assert {name for name in named if name.startswith("chains_admission_")} <= exposed
    found = {each.name: set(each.labels) for each in place.samples(of_api_server=True) if each.name in named}
    assert found == API_SERVER
