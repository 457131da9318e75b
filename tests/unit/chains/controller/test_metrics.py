from chains.attest.outcome import FAILED, SIGNED, Outcome
from chains.attest.stores import Entry
from chains.controller.metrics import MOST_NAMESPACES, OTHERS, Metrics


def test_namespaces_have_series_of_their_own_up_to_a_bound() -> None:
    metrics = Metrics()
    for number in range(MOST_NAMESPACES + 50):
        metrics.count("TaskRun", f"team-{number}", Outcome("r", "u", SIGNED), 0.0)
    text = metrics.text().decode()
    assert 'chains_runs_total{kind="taskrun",namespace="team-0",state="signed"} 1.0' in text
    assert f'chains_runs_total{{kind="taskrun",namespace="{OTHERS}",state="signed"}} 50.0' in text
    assert f'namespace="team-{MOST_NAMESPACES}"' not in text


def test_what_a_store_refuses_counts_at_every_attempt() -> None:
    metrics = Metrics()
    failed = Outcome("r", "u", FAILED, "", (Entry("p", "oci:", "att", "", "failed", "away", transient=True),))
    for _ in range(3):
        metrics.count_errors("ci", failed)
    assert 'chains_store_errors_total{namespace="ci",store="oci:"} 3.0' in metrics.text().decode()


def test_failures_and_uploads_have_the_peers_words() -> None:
    metrics = Metrics()
    entries = {
        "storage": (
            Entry("p", "oci:", "att", "", "failed", "away"),
            Entry("q", "", "", "", "failed", "no key"),
        ),
        "signing": (Entry("p", "", "", "", "failed", "not signed: no"),),
        "payload_creation": (),
    }
    for found in entries.values():
        metrics.count("TaskRun", "ci", Outcome("r", "u", FAILED, "", found), None)
    logged = ("https://rekor.example/api/v1/log/entries?logIndex=1",)
    metrics.count("PipelineRun", "ci", Outcome("r", "u", SIGNED, "", logged=logged), None)
    text = metrics.text().decode()
    for word in entries:
        assert f'watcher_taskrun_signing_failures_total{{error_type="{word}"}} 1.0' in text
    assert "watcher_pipelinerun_payload_uploaded_total 1.0" in text
