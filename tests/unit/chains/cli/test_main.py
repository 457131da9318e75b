"""The command line as a user sees it: output, errors and exit codes."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from chains.cli.main import program
from chains.cli.main import run as chains

Json = Any
EXAMPLES = Path(__file__).parents[4] / "examples"
RUN = str(EXAMPLES / "taskrun-image.json")
HEX = "0123456789abcdef" * 4
OCI_ONLY = {f"artifacts.{kind}.storage": "oci" for kind in ("taskrun", "pipelinerun", "oci")}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def simple_run(name: str) -> Json:
    status = {
        "conditions": [{"type": "Succeeded", "status": "True"}],
        "completionTime": "2026-01-02T03:04:05Z",
    }
    return {
        "apiVersion": "tekton.dev/v1", "kind": "TaskRun",
        "metadata": {"name": name, "namespace": "ns", "uid": name}, "status": status,
    }  # fmt: skip


def write(name: str, value: Json) -> str:
    Path(name).write_text(value if isinstance(value, str) else json.dumps(value))
    return name


def test_payload_prints_one_statement(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["payload", RUN, "--format", "slsa/v2alpha4"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["predicateType"] == "https://slsa.dev/provenance/v1"
    assert chains(["payload", RUN, "--format", "in-toto"]) == 0
    assert json.loads(capsys.readouterr().out)["predicateType"] == "https://slsa.dev/provenance/v0.2"


def test_payload_of_a_list_is_the_pipeline_run_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["payload", str(EXAMPLES / "pipelinerun.json")]) == 0
    parameters = json.loads(capsys.readouterr().out)["predicate"]["buildDefinition"]["externalParameters"]
    assert "pipelineRef" in parameters["runSpec"]


def test_several_runs_need_a_choice(capsys: pytest.CaptureFixture[str]) -> None:
    name = write("two.json", [simple_run("a"), simple_run("b")])
    assert chains(["payload", name]) == 2
    assert "holds 2 runs; pick one with --run NAMESPACE/NAME: ns/a, ns/b" in capsys.readouterr().err
    assert chains(["payload", name, "--run", "ns/b"]) == 0
    assert json.loads(capsys.readouterr().out)["predicate"]["runDetails"]["metadata"]["invocationId"] == "b"
    assert chains(["payload", name, "--run", "ns/c"]) == 2
    assert "--run ns/c: is not in the input, which has ns/a, ns/b" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ([], 2, "the following arguments are required: COMMAND"),
        (["nonsense"], 2, "invalid choice: 'nonsense'"),
        (["payload", "missing.json"], 2, "missing.json: No such file or directory; check the path"),
        (["report", "check", "missing"], 2, "missing: No such file or directory; check the path"),
        (["report", "controls", "missing"], 2, "missing: No such file or directory; check the path"),
        (["access", "check", "missing"], 2, "missing: No such file or directory; check the path"),
        (["retention", "lint", "missing"], 2, "missing: No such file or directory; check the path"),
        (["policy", "lint", "missing"], 2, "missing: No such file or directory; check the path"),
        (
            ["payload", RUN, "--format", "slsa/v9"],
            2,
            "unknown format 'slsa/v9': expected one of in-toto, slsa/v1",
        ),
        (["attest", RUN, "--store", "ftp://x"], 2, "unknown store 'ftp://x'"),
        (["attest", RUN, "--key", "missing.key"], 2, "missing.key"),
        (["attest", RUN, "--config", "missing.yaml"], 2, "missing.yaml"),
        (["verify", f"sha256:{HEX}"], 2, f"sha256:{HEX}: nobody to trust: pass --key PUB, or --certificate"),
        (["keys", "generate", "/nowhere/x.key"], 2, "/nowhere/x"),
        (["attest", RUN, "--output", "xml"], 2, "invalid choice: 'xml'"),
    ],
)
def test_wrong_usage_gives_one_clear_error(
    arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chains(arguments) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.err.startswith("chains: ")
    assert "Traceback" not in captured.err


def test_attest_without_options_works_in_its_folder_and_twice_changes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert chains(["attest", RUN, "--output", "json"]) == 0
    first = capsys.readouterr()
    assert "made a new P-256 key: .chains/signing.key" in first.err
    assert Path(".chains/layout/index.json").is_file()
    outcome = json.loads(first.out)["runs"][0]
    assert (outcome["state"], outcome["unchanged"]) == ("signed", False)
    assert chains(["attest", RUN]) == 0
    second = capsys.readouterr()
    assert "1 unchanged" in second.out
    assert "made a new" not in second.err


def here(run: str = RUN) -> str:
    """Return a copy of a run file in the working folder, for which the key and layout of its .chains count."""
    return write("run.json", Path(run).read_text())


OWN = ("--key", ".chains/signing.pub", "--store", "oci-layout:.chains/layout")


def test_attest_then_verify_the_run_its_image_and_a_changed_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["attest", RUN]) == 0
    capsys.readouterr()
    assert chains(["verify", here()]) == 0
    assert "VERIFIED" in capsys.readouterr().out
    digest = next(
        item["value"]
        for item in json.loads(Path(RUN).read_text())["status"]["results"]
        if item["name"].endswith("IMAGE_DIGEST")
    )
    assert chains(["verify", digest, *OWN, "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "VERIFIED"
    changed = json.loads(Path(RUN).read_text())
    changed["spec"]["serviceAccountName"] = "somebody-else"
    assert chains(["verify", write("changed.json", changed)]) == 1
    assert "FAILED" in capsys.readouterr().out
    assert chains(["verify", f"sha256:{HEX}", *OWN, "--output", "json"]) == 3
    assert json.loads(capsys.readouterr().out)["verdict"] == "NOT_FOUND"


def test_a_run_that_is_also_evidence_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["attest", RUN, "--store", "file:evidence"]) == 0
    bundle = json.loads(next(Path("evidence").rglob("*bundle.json")).read_text())
    forged = json.loads(Path(RUN).read_text()) | bundle
    forged["spec"]["serviceAccountName"] = "evil"
    capsys.readouterr()
    for content in (forged, forged | bundle["dsseEnvelope"]):
        assert chains(["verify", write("run.json", content)]) == 2
        assert "is a run and evidence in one object" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--builder-id", "--build-type", "--digest", "--predicate-type"])
def test_an_empty_demand_is_refused_and_never_dropped(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chains(["attest", RUN]) == 0
    assert chains(["verify", here(), option, ""]) == 2
    assert "empty" in capsys.readouterr().err


def test_an_empty_twin_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINS_PUBLIC_KEY", "  ")
    assert chains(["verify", RUN]) == 2
    assert "CHAINS_PUBLIC_KEY is empty" in capsys.readouterr().err


def test_a_full_output_is_told_without_a_traceback() -> None:
    command = [sys.executable, "-m", "chains", "payload", RUN]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1
    assert b"No space left" in done.stderr
    assert b"Traceback" not in done.stderr


def test_another_key_does_not_verify(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["attest", RUN]) == 0
    assert chains(["keys", "generate", "other.key"]) == 0
    capsys.readouterr()
    assert chains(["verify", here(), "--key", "other.pub", "--output", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "FAILED"


def test_a_failed_run_ends_with_one_and_the_others_are_attested(capsys: pytest.CaptureFixture[str]) -> None:
    broken = simple_run("broken")
    broken["status"]["steps"] = {}
    assert chains(["attest", write("in.json", [simple_run("good"), broken]), "--output", "json"]) == 1
    states = {item["run"]: item["state"] for item in json.loads(capsys.readouterr().out)["runs"]}
    assert states == {"taskrun/ns/good": "signed", "taskrun/ns/broken": "failed"}


def test_options_have_environment_twins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chains(["keys", "generate", "mine.key", "--algorithm", "ed25519"]) == 0
    monkeypatch.setenv("CHAINS_KEY", "mine.key")
    monkeypatch.setenv("CHAINS_STORE", "file:one oci-layout:two")
    monkeypatch.setenv("CHAINS_OUTPUT", "json")
    capsys.readouterr()
    assert chains(["attest", RUN]) == 0
    stores = {entry["store"] for entry in json.loads(capsys.readouterr().out)["runs"][0]["entries"]}
    assert stores == {"file:one", "oci-layout:two"}
    assert not Path(".chains").exists()
    monkeypatch.setenv("CHAINS_PUBLIC_KEY", "mine.pub")
    assert chains(["verify", RUN]) == 0  # both are named, so the run may lie anywhere
    monkeypatch.setenv("CHAINS_OUTPUT", "xml")
    assert chains(["attest", RUN]) == 2
    assert "CHAINS_OUTPUT: expected one of text, json" in capsys.readouterr().err


def test_a_wrong_twin_is_told_by_the_command_that_has_it_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CHAINS_FORMAT", "in-toto")
    monkeypatch.setenv("CHAINS_ALGORITHM", "")
    monkeypatch.setenv("CHAINS_RESOLVE", "maybe")
    assert chains(["payload", RUN]) == 0
    assert "https://in-toto.io/Statement/v0.1" in capsys.readouterr().out
    for arguments, words in (
        (["keys", "generate", "k.key"], "CHAINS_ALGORITHM is empty: give it a value or unset it"),
        (["verify", RUN], "CHAINS_RESOLVE: expected true or false, got 'maybe'"),
    ):
        assert chains(arguments) == 2
        assert words in capsys.readouterr().err
    monkeypatch.setenv("CHAINS_ALGORITHM", "ed25519")
    assert chains(["keys", "generate", "k.key"]) == 0
    assert chains(["keys", "export", "k.pub"]) == 0  # its format has a twin of its own


def test_a_plain_installation_reads_its_stores(tmp_path: Path) -> None:
    extras = [
        "boto3",
        "grpc",
        "hvac",
        "kopf",
        "pkcs11",
        "prometheus_client",
        "requests",
        "rfc3161_client",
        "sigstore",
    ]
    start = f"import sys; sys.modules |= dict.fromkeys({extras}); from chains.cli.main import run; "
    for arguments in (
        ["attest", here()],
        ["verify", here()],
        ["get"],
        ["copy", "oci-layout:.chains/layout", f"file:{tmp_path}/copy"],
        ["export", f"{tmp_path}/pack"],
        ["keys", "public", ".chains/signing.key"],
        ["keys", "export", ".chains/signing.pub"],
    ):
        ended = subprocess.run(
            [sys.executable, "-c", f"{start}sys.exit(run({arguments}))"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr


def test_keys_public_prints_the_public_half(capsys: pytest.CaptureFixture[str]) -> None:
    assert chains(["keys", "generate", "k.key"]) == 0
    capsys.readouterr()
    assert chains(["keys", "public", "k.key"]) == 0
    assert capsys.readouterr().out == Path("k.pub").read_text()
    assert chains(["keys", "public", "k.key", "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["keyid"].startswith("SHA256:")
    assert chains(["keys", "generate", "k.key"]) == 2
    assert "is not overwritten" in capsys.readouterr().err


def test_config_lint_reports_everything_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"artifacts.taskrun.fromat": "x", "artifacts.oci.signer": "gpg", "transparency.enabled": "maybe"}
    assert chains(["config", "lint", write("cfg.json", data)]) == 1
    out = capsys.readouterr().out
    assert "did you mean artifacts.taskrun.format?" in out
    assert "artifacts.oci.signer" in out
    assert "transparency.enabled" in out
    assert chains(["config", "lint", write("ok.json", OCI_ONLY), "--output", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []


def test_a_configuration_s_stores_are_used_or_refused_with_the_next_step(
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = write("cfg.json", {"artifacts.taskrun.storage": "tekton,gcs"})
    assert chains(["attest", RUN, "--config", config]) == 2
    assert "stores in tekton, which needs a cluster; pass --store" in capsys.readouterr().err
    assert chains(["attest", RUN, "--config", config, "--store", "oci-layout:here"]) == 0


@pytest.mark.parametrize(
    ("signer", "words"),
    [
        ({}, "signers.kms.kmsref is missing, but artifacts.taskrun.signer is kms"),
        (
            {"signers.kms.kmsref": "k8s://a/b"},
            "signers.kms.kmsref: expected a reference that begins with one of",
        ),
        (
            {"signers.kms.kmsref": "gcpkms://hunter2"},
            "signers.kms.kmsref: a key reference has the wrong form",
        ),
    ],
)
def test_a_key_service_that_cannot_be_used_is_told_in_words(
    capsys: pytest.CaptureFixture[str], signer: dict[str, str], words: str
) -> None:
    config = write("cfg.json", {"artifacts.taskrun.signer": "kms", "artifacts.oci.signer": "kms", **signer})
    assert chains(["attest", RUN, "--config", config, "--store", "file:evidence"]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert "hunter2" not in error
    assert not list(Path("evidence").rglob("*.json"))


def test_a_log_that_does_not_answer_leaves_nothing_stored(capsys: pytest.CaptureFixture[str]) -> None:
    config = write("cfg.json", {"transparency.enabled": "true", "transparency.url": "http://127.0.0.1:9"})
    assert chains(["attest", RUN, "--config", config]) == 1
    assert "transparency log http://127.0.0.1:9 does not answer" in capsys.readouterr().out
    assert not Path(".chains/layout").exists()
    assert chains(["verify", here(), *OWN, "--output", "json"]) == 4


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"transparency.enabled": "true"}, "no identity token"),
        ({"transparency.enabled": "false"}, "certificates end after minutes"),
        ({"transparency.enabled": "manual"}, "certificates end after minutes"),
        ({"transparency.enabled": "true", "transparency.version": "2"}, "signers.timestamp.url: is missing"),
        (
            {"transparency.enabled": "true", "signers.x509.fulcio.provider": "no-such"},
            "unknown identity provider 'no-such'",
        ),
        (
            {"transparency.enabled": "true", "signers.x509.trusted-root": "", "signers.x509.tuf.mirror.url": "http://x"},
            "give its root.json in signers.x509.tuf.root",
        ),
    ],
)  # fmt: skip
def test_certificates_that_cannot_be_had_are_told_before_anything_is_signed(
    config: dict[str, str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = {"tlogs": [], "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}
    known = {"signers.x509.fulcio.enabled": "true", "signers.x509.trusted-root": write("root.json", root)}
    assert chains(["attest", RUN, "--config", write("cfg.json", known | config)]) == 2
    assert message in capsys.readouterr().err


def test_an_input_without_runs_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}
    assert chains(["attest", write("pod.json", pod)]) == 2
    assert "holds no TaskRun or PipelineRun" in capsys.readouterr().err
    assert chains(["payload", "pod.json"]) == 2


def test_help_names_the_twins_and_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        chains(["attest", "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "[env: CHAINS_KEY]" in out.replace("\n", " ").replace("  ", "")
    assert "exit codes" in out


def test_the_help_has_each_command_once_under_a_heading(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        chains(["--help"])
    out = capsys.readouterr().out
    headings = re.findall(r"^(\S.*):$", out, re.MULTILINE)
    assert headings == [
        "Options",
        "Make evidence",
        "Read and verify it",
        "Ask about many runs",
        "Decide what may run",
        "Work in a cluster",
        "Keys and settings",
    ]
    named = re.findall(r"^  ([a-z][a-z-]*)  ", out, re.MULTILINE)
    assert sorted(named) == sorted(program.list_commands(click.Context(program)))
