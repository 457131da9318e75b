"""Every runbook is tried: what it describes is brought about, its symptoms are seen, its commands are run.

The rows of a runbook's table *Symptoms* are looked for where they say they are; the fenced ``sh`` blocks are run by a
shell whose ``kubectl`` is ``tests/testbed/kubectl.py``.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest

from chains.cli.main import run as chains
from signers.open import open_signer
from signers.sealer import Sealer
from tests.integration.test_controller import Running, controller, finished
from tests.integration.test_controller_keyless import keyless
from tests.testbed import kubectl, servers
from tests.testbed.cluster import MERGE, ApiError, ApiServer, free_ports
from tests.testbed.faulty_api import FaultyApi, faulty_api
from tests.testbed.http_proxy import proxy
from tests.testbed.images import Registry
from tests.testbed.key_services import DENY, OUTAGE
from tests.testbed.key_services.vault import vault
from tests.testbed.sigstore import SigstoreServices
from tests.testbed.sigstore_keys import signing_config
from tests.unit.chains.audit.ledger.made import ORIGIN, four_days
from tests.unit.test_deploy import MONITORING, RULES, dashboard_expressions, expressions_of_alerts, metrics_of

__all__ = ["controller"]
pytestmark = pytest.mark.server
Json = Any
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
LOG = "kubectl -n tekton-chains logs"
EVIDENCE_IN_REGISTRY = {
    "artifacts.taskrun.storage": "oci",
    "artifacts.oci.storage": "oci",
    "storage.oci.encoding-format": "sigstore-bundle",
}


class Tried:
    """A controller in trouble, and whoever reads the runbooks to it."""

    def __init__(self, running: Running) -> None:
        self.running, self.folder = running, running.folder / "shell"
        self.folder.mkdir()
        server = running.server
        settings = kubectl.Settings(
            server.url, str(server.ca_file), server.token, running.system, str(running.log), str(running.keys)
        )
        (running.folder / "tool").mkdir()
        self.environment = kubectl.install(running.folder / "tool", settings) | {
            "CHAINS_KUBECONFIG": str(server.kubeconfig(running.folder / "tool")),
            "CHAINS_NAMESPACE": running.namespace,
            # what a command in the pod has
            "SYSTEM_NAMESPACE": running.system,
            "CHAINS_SIGNING_SECRETS": str(running.keys),
        }

    def read(self, path: str) -> str:
        """Return what the controller answers, refusals too; empty when there is no answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self.running.port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except HTTPError as error:
            with error:
                return error.read().decode()
        except URLError:
            return ""

    def shell(self, runbook: str, *, only: str = "", name: str = "") -> str:
        """Run the commands of a page, given from the runbooks' folder on, those of the blocks that have ``only`` in them; return what they print."""
        blocks = re.findall(
            r"^ *```sh\n(.*?)^ *```$", (RUNBOOKS / f"{runbook}.md").read_text(), re.MULTILINE | re.DOTALL
        )
        printed = ""
        for block in (each for each in blocks if only in each):
            text = block.replace("NAMESPACE", self.running.namespace).replace("NAME", name)
            lines = [line for line in text.splitlines() if not NEEDS_A_KUBELET.search(line)]
            done = subprocess.run(
                ["bash", "-uc", "\n".join(lines)], cwd=self.folder, env=self.environment, text=True,
                capture_output=True, timeout=120, check=False,
            )  # fmt: skip
            assert not re.search("invalid choice|no such option|unexpected extra", done.stderr), done.stderr
            assert "Traceback" not in done.stderr, done.stderr
            printed += done.stdout + done.stderr
        return printed

    def shows(self, runbook: str, name: str = "", *, skip: str = "") -> None:
        """Wait until everything that the runbook says can be seen is seen."""
        text = (RUNBOOKS / f"{runbook}.md").read_text()
        rows = re.findall(
            r"^\| ([^|]+) \| (.+) \|$", text.partition("## Symptoms")[2].partition("\n## ")[0], re.MULTILINE
        )
        assert len(rows) > 1, runbook
        for where, what in (row for row in rows[1:] if row[0] != skip):
            try:
                self.running.wait(lambda where=where, what=what: self._sees(where, what, name))  # type: ignore[misc]
            except AssertionError as error:
                raise AssertionError(f"{runbook}: {where}: {what}: {error}") from None

    def _sees(self, where: str, what: str, name: str) -> bool:
        quoted = re.findall(r"`([^`]+)`", what)
        if where == "log":
            found = [line for line in self._log() if quoted[0] in line]
            return any(all(each in line for each in quoted) for line in found)
        if where == "metric":
            return self._metric(quoted[0], what)
        if where == "Event":
            return quoted[0] in {each["reason"] for each in self._events()}
        if where == "annotation":
            annotations = self.running.run("TaskRun", name)["metadata"]["annotations"]
            key, _, value = quoted[0].partition(": ")
            return value in annotations[key] and all(each in annotations[key] for each in quoted[1:])
        if where == "`chains doctor`":
            done = subprocess.run(
                ["chains", "doctor"], cwd=self.folder, env=self.environment, text=True,
                capture_output=True, timeout=120, check=False,
            )  # fmt: skip
            found = re.compile(rf"(failed|warning) +{re.escape(quoted[0])}\b")
            return any(found.match(line) for line in done.stdout.splitlines())
        assert where.startswith("`/")
        answer = self.read(where.strip("`"))
        return answer == "" if what == "no answer" else quoted[0] in answer

    def _log(self) -> Iterator[str]:
        for line in self.running.log.read_text().splitlines():
            found = json.loads(line) if line.startswith("{") else {"message": line}
            yield f"{found['message']} {found.get('reason', '')} {line}"

    def _metric(self, quoted: str, what: str) -> bool:
        text = self.read("/metrics")
        if re.fullmatch(r"\w+ [\d.]+", quoted):
            return quoted in text.splitlines()
        name = re.match(r"\w+", quoted)
        assert name is not None
        labels = re.findall(r'\w+="[^"…]+"', quoted)
        samples = re.findall(rf"^{name[0]}({{.*}})? (\S+)$", text, re.MULTILINE)
        total = sum(float(value) for found, value in samples if all(each in found for each in labels))
        if "grows" in what or "above" in what:
            return total > 0
        return total < 1 if "falls" in what else bool(samples)

    def _events(self) -> list[Json]:
        return [
            each
            for namespace in (self.running.namespace, self.running.system)
            for each in self.running.server.request("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
        ]

    def is_true(self, name: str) -> bool:
        return self.running.signed(name) == "true"


CHECKS = {"rekor": "log", "timestamp": "timestamps"}
"""What the doctor calls them."""
NEEDS_A_KUBELET = re.compile(r"kubectl\b.* (describe|top|rollout|scale|wait) ")
"""What is not run here."""


@pytest.fixture
def behind(api_server: ApiServer) -> Iterator[tuple[FaultyApi, ApiServer]]:
    with faulty_api(api_server) as found:
        yield found


def test_a_registry_that_is_away_or_lacks_an_image_shows_as_the_runbooks_say_and_they_mend_it(
    controller: Callable[..., Running], referrers_registry: Registry, tmp_path: Path
) -> None:
    running = controller(**EVIDENCE_IN_REGISTRY)
    tried, (port,) = Tried(running), free_ports(1)
    forget_events(running)
    repository = f"{running.namespace}/app"
    with servers.distribution(tmp_path / "later", port=port) as later:  # keeps the image for its return
        digest = later.push_image(repository, content=b"the same anywhere")
    missing = f"{referrers_registry.host}/{repository}"
    running.server.create_run(
        finished(running.namespace, "delayed", f"127.0.0.1:{port}/{repository}", digest)
    )
    for name in ("wrong", "wrong-too"):
        running.server.create_run(finished(running.namespace, name, missing, digest))
    running.start()
    running.wait(lambda: running.signed("wrong") == running.signed("wrong-too") == "failed")
    for runbook in ("registry-unavailable", "ChainsRetries", "ChainsRunsWait", "ChainsBacklogGrows"):
        tried.shows(runbook)
        assert "taskrun/" + running.namespace + "/delayed" in tried.shell(runbook)
    for runbook in ("ChainsAttestationFailed", "ChainsStoreErrors", "ChainsCoverageLow", "ChainsSlow"):
        tried.shows(runbook, "wrong")
    every_metric_that_is_named_is_there(tried)
    assert "AttestationFailed taskrun/wrong-too " in tried.shell("ChainsStoreErrors")
    assert "does not have" in tried.shell("ChainsAttestationFailed", only="outcome", name="wrong")

    referrers_registry.push_image(repository, content=b"the same anywhere")
    tried.shell("ChainsAttestationFailed", only="resign", name="wrong")
    running.wait(lambda: tried.is_true("wrong"))
    assert running.signed("wrong-too") == "failed"
    tried.shell("ChainsCoverageLow", only="resign")
    running.wait(lambda: tried.is_true("wrong-too"))
    assert running.signed("delayed") == ""
    with servers.distribution(tmp_path / "later", port=port):
        running.wait(lambda: tried.is_true("delayed"))
    running.wait(lambda: "\nchains_backlog_runs 0.0\n" in tried.read("/metrics"))
    assert f"{running.namespace}/" not in tried.shell("registry-unavailable", only="!provenance")


def forget_events(running: Running) -> None:
    """Delete every Event of the cluster: a runbook shows the last few, and other tests leave theirs."""
    for namespace in running.server.request("GET", "/api/v1/namespaces")["items"]:
        running.server.request("DELETE", f"/api/v1/namespaces/{namespace['metadata']['name']}/events")


def every_metric_that_is_named_is_there(tried: Tried) -> None:
    """Alerts and dashboard name only what a controller that has worked, failed and retried exposes.

    What an audit writes is in no controller; :mod:`tests.integration.test_audit` holds it to its runbooks.
    """
    text = tried.read("/metrics")
    exposed = set(re.findall(r"^(\w+?)(?:{.*})? \S+$", text, re.MULTILINE))
    for expression in [*expressions_of_alerts(RULES[:1]), *dashboard_expressions(MONITORING[:1])]:
        of_controller = {name for name in metrics_of(expression) if not name.startswith("chains_audit_")}
        assert of_controller <= exposed, expression


def test_a_refused_configuration_shows_as_the_runbook_says(controller: Callable[..., Running]) -> None:
    running = controller(artifacts_oci_storage="tekton")
    running.start()
    tried = Tried(running)
    running.configure({"artifacts.taskrun.format": "slsa/v9"})
    tried.shows("ChainsConfigRefused")
    printed = tried.shell("ChainsConfigRefused")
    assert printed.count("artifacts.taskrun.format") > 1  # the log says it, and the linter
    running.configure({"artifacts.taskrun.format": "slsa/v1"})
    running.wait(lambda: tried.read("/readyz") == "ok\n")
    assert "\nchains_config_refused 0.0\n" in tried.read("/metrics")


def test_a_lost_key_shows_as_the_runbook_says_and_what_is_put_back_signs(
    controller: Callable[..., Running],
) -> None:
    running = controller(artifacts_oci_storage="tekton")
    running.start()
    tried = Tried(running)
    (running.keys / "x509.pem").rename(tried.folder / "x509.pem")
    tried.shows("keys-unavailable")
    running.server.create_run(finished(running.namespace, "meanwhile"))
    running.wait(lambda: tried.is_true("meanwhile"))
    running.stop()
    running.start(expected=503)
    running.server.create_run(finished(running.namespace, "waits"))
    assert "secret/signing-secrets replaced" in tried.shell("keys-unavailable", only="create secret")
    running.wait(lambda: tried.is_true("waits"))
    assert tried.read("/readyz") == "ok\n"


def test_a_key_is_rotated_by_the_commands_of_the_runbook(
    controller: Callable[..., Running], referrers_registry: Registry
) -> None:
    running = controller(**EVIDENCE_IN_REGISTRY)
    running.start()
    tried = Tried(running)
    tried.shell("rotate-the-key", only="chains keys generate")
    assert (tried.folder / "old.pub").read_bytes() == (running.keys / "x509.pub").read_bytes()
    assert "replaced" in tried.shell("rotate-the-key", only="kubectl replace")
    running.wait(lambda: running.log.read_text().count("a new configuration is in force") == 2)
    digest = referrers_registry.push_image(running.namespace)
    image = f"{referrers_registry.host}/{running.namespace}"
    running.server.create_run(finished(running.namespace, "after", image, digest))
    running.wait(lambda: tried.is_true("after"))
    assert "IMAGE@sha256:… --key x509.pub --store oci:" in (RUNBOOKS / "rotate-the-key.md").read_text()
    for key, code in (("x509.pub", 0), ("old.pub", 1)):
        command = ["verify", f"{image}@{digest}", "--key", str(tried.folder / key), "--store", "oci:"]
        assert chains(command) == code


def test_an_api_server_that_is_away_shows_as_the_runbook_says_and_nothing_is_lost(
    controller: Callable[..., Running], behind: tuple[FaultyApi, ApiServer]
) -> None:
    proxy, server = behind
    running = controller(artifacts_oci_storage="tekton")
    running.seen_as = server
    running.start()
    tried = Tried(running)
    # one run is read, and cannot be marked
    proxy.on("PATCH .*/taskruns/marked-late", times=1, before=lambda _: setattr(proxy, "down", True))
    running.server.create_run(finished(running.namespace, "marked-late"))
    running.wait(lambda: proxy.down)
    running.server.create_run(finished(running.namespace, "ended-meanwhile"))
    tried.shows("api-server-unavailable")
    printed = tried.shell("api-server-unavailable")
    assert "/chains-config" in printed
    assert "the configuration cannot be read" in printed
    proxy.down = False
    running.wait(lambda: tried.is_true("marked-late") and tried.is_true("ended-meanwhile"))
    running.wait(lambda: "\nchains_backlog_runs 0.0\n" in tried.read("/metrics"))
    assert running.stop() == 0
    proxy.down = True
    running.start(expected=503)
    proxy.down = False
    running.wait(lambda: running.ask("/readyz")[0] == 200)


def test_without_a_controller_deleted_runs_are_let_go_by_hand(controller: Callable[..., Running]) -> None:
    running = controller(artifacts_oci_storage="tekton")
    running.start()
    tried = Tried(running)
    run = finished(running.namespace, "held")
    del run["status"]
    running.server.create_run(run)
    running.wait(lambda: "finalizers" in running.run("TaskRun", "held")["metadata"])
    running.stop(signal.SIGKILL)
    tried.shows("ChainsAbsent")
    running.server.request("DELETE", f"/apis/tekton.dev/v1/namespaces/{running.namespace}/taskruns/held")
    assert "deletionTimestamp" in running.run("TaskRun", "held")["metadata"]
    assert "`chains finalizers release`" in (RUNBOOKS / "ChainsAbsent.md").read_text()
    subprocess.run(["chains", "finalizers", "release"], env=tried.environment, check=True)
    with pytest.raises(ApiError, match="404"):
        running.run("TaskRun", "held")


def test_a_run_that_breaks_the_controller_shows_as_the_runbook_says(
    controller: Callable[..., Running], behind: tuple[FaultyApi, ApiServer]
) -> None:
    proxy, server = behind
    running = controller(artifacts_oci_storage="tekton")
    running.seen_as = server
    # the watch brought the run, so it is read when somebody else has written it; an answer that is no run
    # breaks the code that reads it
    proxy.on("PATCH .*/taskruns/poison$", code=409, reason="Conflict")
    proxy.on("GET .*/taskruns/poison$", times=3, code=200)
    running.server.create_run(finished(running.namespace, "poison"))
    running.start()
    tried = Tried(running)
    running.wait(lambda: running.signed("poison") == "failed")
    tried.shows("ChainsRunQuarantined")
    printed = tried.shell("ChainsRunQuarantined", name="poison")
    assert "RunQuarantined taskrun/poison quarantined after 3 attempts" in printed
    assert json.loads((tried.folder / "run.json").read_text())["metadata"]["name"] == "poison"
    running.wait(lambda: tried.is_true("poison"))


def test_a_run_that_is_deleted_before_it_is_attested_shows_as_the_runbook_says(
    controller: Callable[..., Running],
) -> None:
    running = controller(**EVIDENCE_IN_REGISTRY)
    running.start()
    tried = Tried(running)
    nowhere = f"127.0.0.1:{free_ports(1)[0]}/team/app"
    run = running.server.create_run(finished(running.namespace, "lost", nowhere))
    running.wait(lambda: "trying again later" in running.log.read_text())
    path = f"/apis/tekton.dev/v1/namespaces/{running.namespace}/taskruns/lost"
    running.server.request("PATCH", path, {"metadata": {"finalizers": None}}, kind=MERGE)
    running.server.request("DELETE", path)
    tried.shows("ChainsRunLost")
    printed = tried.shell("ChainsRunLost", only="RunLost")
    assert "RunLost taskrun/lost taskrun/" in printed
    assert run["metadata"]["uid"] in printed


def test_a_store_that_cannot_be_opened_shows_as_the_runbook_says(
    controller: Callable[..., Running], tmp_path: Path
) -> None:
    running = controller(**EVIDENCE_IN_REGISTRY | {"storage.oci.ca-file": str(tmp_path / "ca.pem")})
    running.server.create_run(finished(running.namespace, "waits"))
    running.start()
    tried = Tried(running)
    tried.shows("ChainsStoreClosed")
    assert "storage.oci.ca-file" in tried.shell("ChainsStoreClosed")
    running.configure({"storage.oci.ca-file": ""})
    running.wait(lambda: "\nchains_stores_closed 0.0\n" in tried.read("/metrics"))


def test_a_ledger_that_cannot_be_written_or_signed_shows_as_the_runbooks_say(
    controller: Callable[..., Running], tmp_path: Path
) -> None:
    assert chains(["keys", "generate", str(tmp_path / "ledger.pem")]) == 0
    folder, past = tmp_path / "ledger", tmp_path / "past"
    folder.write_text("a file where a folder has to be")
    running = controller(
        **{
            "artifacts.taskrun.storage": "tekton",
            "artifacts.oci.storage": "tekton",
            "ledger.folder": str(folder),
            "ledger.origin": ORIGIN.rpartition("/")[0],
            "ledger.signer": str(tmp_path / "ledger.pem"),
        }
    )
    running.server.create_run(finished(running.namespace, "waits"))
    running.start()
    tried = Tried(running)
    tried.shows("ChainsLedgerUnwritable")
    assert "the ledger cannot be written" in tried.shell("ChainsLedgerUnwritable")
    assert running.signed("waits") == ""
    folder.unlink()
    running.wait(lambda: tried.is_true("waits"))
    running.wait(lambda: "\nchains_ledger_unwritable 0.0\n" in tried.read("/metrics"))

    # a ledger whose last days nobody could sign, and a timestamp authority that does not answer
    four_days(past / "share-0-of-1", Sealer(open_signer(str(tmp_path / "ledger.pem"))))
    running.configure(
        {"ledger.folder": str(past), "signers.timestamp.url": f"http://127.0.0.1:{free_ports(1)[0]}"}
    )
    tried.shows("ChainsLedgerUnsigned")
    assert "timestamp authority" in tried.shell("ChainsLedgerUnsigned")
    running.configure({"signers.timestamp.url": ""})
    running.wait(lambda: "a day of the ledger is closed" in running.log.read_text())


def test_shares_that_nobody_holds_show_as_the_runbook_says(
    controller: Callable[..., Running],
    behind: tuple[FaultyApi, ApiServer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    proxy, server = behind
    running = controller(artifacts_oci_storage="tekton")
    running.seen_as = server
    for name, value in (("CHAINS_REPLICAS", "2"), ("POD_NAME", "tekton-chains-controller-0")):
        monkeypatch.setenv(name, value)
    refused = proxy.on("/leases", times=1_000_000, code=403, reason="Forbidden")
    running.start()
    tried = Tried(running)
    tried.shows("ChainsShareUnheld")
    assert "403" in tried.shell("ChainsShareUnheld", only=LOG)
    refused.times = 0
    running.wait(lambda: "share is gained" in running.log.read_text())
    assert "tekton-chains-controller-0" in tried.shell("ChainsShareUnheld", only="get leases")


def test_a_key_service_that_is_away_shows_as_the_runbook_says(
    controller: Callable[..., Running], tmp_path: Path
) -> None:
    with vault() as server:
        (tmp_path / "token").write_text("root-token")
        running = controller(
            **{
                **{f"artifacts.{each}.signer": "kms" for each in ("taskrun", "pipelinerun", "oci")},
                "artifacts.oci.storage": "tekton",
                "signers.kms.kmsref": server.reference("ecdsa-p256"),
                "signers.kms.auth.address": server.address,
                "signers.kms.auth.token-path": str(tmp_path / "token"),
            }
        )
        running.start()
        tried = Tried(running)
        server.faults.forever = OUTAGE
        running.server.create_run(finished(running.namespace, "waits"))
        running.wait(lambda: "trying again later" in running.log.read_text())
        assert running.signed("waits") == ""
        server.faults.clear()
        running.wait(lambda: tried.is_true("waits"))
        server.faults.forever = DENY
        running.server.create_run(finished(running.namespace, "denied"))
        running.wait(lambda: running.signed("denied") == "failed")
        server.faults.forever = OUTAGE
        # the next start finds the service away, and what it says is there to be seen beside what the first one said
        running.server.create_run(finished(running.namespace, "waits-too"))
        running.wait(lambda: "waits-too" in running.log.read_text())
        text = (RUNBOOKS / "kms-unavailable.md").read_text()
        assert "| `/readyz` | after a restart:" in text
        tried.shows("kms-unavailable", skip="`/readyz`")
        assert "vault key" in tried.shell("kms-unavailable", only=LOG)
        assert "failed   key service" in tried.shell("kms-unavailable", only="chains doctor")
        running.stop()
        running.start(expected=503)
        assert "configuration refused: signers.kms.kmsref: " in tried.read("/readyz")


@pytest.mark.parametrize("service", ["rekor", "timestamp", "fulcio"])
def test_a_log_timestamp_authority_or_fulcio_that_is_away_shows_as_the_runbook_says(
    service: str,
    controller: Callable[..., Running],
    sigstore_services: SigstoreServices,
    referrers_registry: Registry,
    tmp_path: Path,
) -> None:
    text = (RUNBOOKS / "log-unavailable.md").read_text()
    with proxy(getattr(sigstore_services, service)) as away:
        running = controller(**keyless(sigstore_services, tmp_path))
        urls = {each: getattr(sigstore_services, each) for each in ("fulcio", "rekor", "timestamp")}
        config = signing_config(*(urls | {service: away.url}).values())
        (tmp_path / "signing_config.json").write_text(json.dumps(config))
        running.start()
        away.fails = 503
        if service == "fulcio":
            running.stop()
            running.start(expected=503)
            assert "`configuration refused: signing: fulcio`" in text
            assert Tried(running).read("/readyz").startswith("configuration refused: signing: fulcio")
            return
        digest = referrers_registry.push_image(running.namespace)
        image = f"{referrers_registry.host}/{running.namespace}"
        running.server.create_run(finished(running.namespace, "waits", image, digest))
        tried = Tried(running)
        if service == "rekor":
            tried.shows("log-unavailable")
        named = {"rekor": "transparency log", "timestamp": "timestamp authority"}[service]
        assert f"`{named}`" in text.replace("`not signed: ", "`")
        running.wait(lambda: f"not signed: {named}" in tried.shell("log-unavailable", only=LOG))
        told = tried.shell("log-unavailable", only="chains doctor")
        assert re.search(rf"^failed +{CHECKS[service]} +127\.0\.0\.1", told, re.MULTILINE), told
        assert told.count("\nfailed ") == 1, told
        assert running.signed("waits") == ""
        away.fails = 0
        running.wait(lambda: tried.is_true("waits"))
        assert "chains.tekton.dev/transparency" in running.run("TaskRun", "waits")["metadata"]["annotations"]
