"""Text of strangers, through every command as a process: no byte reaches a terminal that it would obey.

Each case puts the hostile text where a stranger or a user may put it, and holds that the command shows it,
escaped, on one line, with the right exit code. So no case passes because the text went nowhere.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import unicodedata
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from signers.keys.keyfile import generate_key, write_key_pair

Json = Any
ROOT = Path(__file__).parents[2]
FORGED = "chains: VERIFIED everything"
HOSTILE = f"x\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\r\n{FORGED}\u202e\u2066\u200b\u2028\u2029\u061c\ufeff\u0085"
NAME = HOSTILE.replace("/", "")
SHOWN = r"\x1b[2J\x9b31m\x7f\r\n" + FORGED + r"\u202e\u2066\u200b\u2028\u2029\u061c\ufeff\x85"
SHOWN_IN_JSON = r"\u001b[2J\u009b31m\u007f\r\n" + FORGED + r"\u202e\u2066\u200b\u2028\u2029\u061c\ufeff\u0085"
FREE = {
    "Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp",
}  # fmt: skip
DIGEST = "sha256:" + "ab" * 32
CONDITION = {"type": "Succeeded", "status": "True", "reason": HOSTILE, "message": HOSTILE}


def task_run(name: str = "build", **changed: Json) -> Json:
    return {
        "apiVersion": "tekton.dev/v1",
        "kind": "TaskRun",
        "metadata": {"name": name, "namespace": "team", "uid": f"uid-{name}", "annotations": {HOSTILE: HOSTILE}},
        "spec": {"params": [{"name": HOSTILE, "value": HOSTILE}]},
        "status": {
            "conditions": [CONDITION],
            "startTime": "2026-01-02T03:00:05Z",
            "completionTime": "2026-01-02T03:04:05Z",
            "results": [
                {"name": "IMAGE_URL", "value": "registry.example.com/team/app"},
                {"name": "IMAGE_DIGEST", "value": DIGEST},
            ],
            "steps": [{"name": HOSTILE, "imageID": HOSTILE, "container": HOSTILE}],
            **changed,
        },
    }  # fmt: skip


def pipeline_run() -> Json:
    found = task_run("pipeline")
    found["kind"] = "PipelineRun"
    found["status"]["childReferences"] = [
        {"kind": "TaskRun", "name": HOSTILE, "pipelineTaskName": HOSTILE, "apiVersion": "tekton.dev/v1"}
    ]
    return found


def bundle(media_type: str, payload_type: str) -> bytes:
    subject = [{"name": HOSTILE, "digest": {"sha256": "ab" * 32}}]
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": HOSTILE,
        "predicate": {},
    }
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    signature = {"sig": base64.b64encode(b"no").decode(), "keyid": HOSTILE}
    envelope = {"payload": payload, "payloadType": payload_type, "signatures": [signature]}
    material = {"publicKey": {"hint": HOSTILE}}
    return json.dumps(
        {"mediaType": media_type, "verificationMaterial": material, "dsseEnvelope": envelope}
    ).encode()


STRANGE = bundle("application/vnd.dev.sigstore.bundle.v0.3+json", "application/vnd.in-toto+json")
"""Well formed, and signed by nobody."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with evidence and files full of hostile text."""
    made = tmp_path_factory.mktemp("hostile")
    before = Path.cwd()
    os.chdir(made)
    try:
        write_key_pair(Path("signing.key"), generate_key("ecdsa-p256"))
        files: dict[str, Json] = {
            "good.json": task_run("good"),
            "name.json": task_run(HOSTILE),
            "namespace.json": task_run("n") | {"metadata": {"name": "n", "namespace": HOSTILE, "uid": HOSTILE}},
            "children.json": pipeline_run(),
            "dropped.json": task_run("dropped", results=[{"name": f"{NAME}IMAGE_URL", "value": HOSTILE}, {"name": f"{NAME}IMAGE_DIGEST", "value": DIGEST}]),
            "several.json": [task_run(HOSTILE), task_run("b")],
            "wrong-type.json": task_run("w", steps=[{"name": "s", HOSTILE: [], "terminated": HOSTILE}]),
            "config.json": {"artifacts.oci.storage": HOSTILE, HOSTILE: HOSTILE, "builder.id": HOSTILE, "storage.gcs.bucket": HOSTILE},
            "config-url.json": {"artifacts.taskrun.storage": "docdb", "storage.docdb.url": f"mongo://h/{HOSTILE}"},
            "keyset.json": {HOSTILE: HOSTILE},
            "root.json": {"mediaType": HOSTILE, "tlogs": [{"baseUrl": HOSTILE}], "certificateAuthorities": [], "ctlogs": [], "timestampAuthorities": []},
        }  # fmt: skip
        for name, value in files.items():
            Path(name).write_text(json.dumps(value))
        Path("twice.json").write_text(
            json.dumps({"a": 1})[:-1] + f", {json.dumps(HOSTILE)}: 1, {json.dumps(HOSTILE)}: 2}}"
        )
        Path("broken.yaml").write_text("a: [\x1b[2J")
        Path("surrogate.json").write_text(json.dumps(task_run("s\ud800" + HOSTILE)))
        Path("bundle.json").write_bytes(bundle(HOSTILE, HOSTILE))
        Path("key.pem").write_text(f"-----BEGIN PUBLIC KEY-----\n{HOSTILE}\n-----END PUBLIC KEY-----\n")
        Path(f"{NAME}.json").write_text(json.dumps({"kind": HOSTILE}))
        Path(NAME).mkdir()
        assert chains(["attest", "good.json", "name.json", "namespace.json", "--key", "signing.key", "--store", "file:evidence", "--store", f"file:{NAME}"]) == 0  # fmt: skip
        assert (
            chains(["revoke", "add", "list.json", "--builder", "https://b.example.com", "--reason", HOSTILE])
            == 0
        )
        for path in sorted(Path("evidence").rglob("*")):
            if path.name.endswith(".bundle.json"):
                copied = Path("strange") / path.relative_to("evidence")
                copied.parent.mkdir(parents=True, exist_ok=True)
                copied.write_bytes(STRANGE)
    finally:
        os.chdir(before)
    return made


@dataclass
class Case:
    """A command line, its exit code, and where the text comes from; ``shows`` is what proves that it came."""

    arguments: list[str]
    code: int
    shows: str = SHOWN
    environment: dict[str, str] = field(default_factory=dict)


BY_KEY = ["--key", "signing.pub"]
FROM = ["--store", "file:evidence"]
INTO = ["--store", "file:made"]
CASES = {
    "an unknown command": Case([HOSTILE], 2),
    "an unknown option": Case(["payload", "good.json", "--" + HOSTILE.replace(" ", "_")], 2, r"\x1b[2J"),
    "a choice": Case(["attest", "good.json", "--output", HOSTILE], 2),
    "a twin": Case(["attest", "good.json"], 2, environment={"CHAINS_OUTPUT": HOSTILE}),
    "payload: a missing file": Case(["payload", f"{HOSTILE}.json"], 1),
    "payload: a file name": Case(["payload", f"{NAME}.json"], 1),
    "payload: an argument of bytes": Case(["payload", os.fsdecode(b"\xff\x9b") + HOSTILE], 2),
    "payload: a format": Case(["payload", "good.json", "--format", HOSTILE], 2, r"\x1b[2J"),
    "payload: a choice among runs": Case(["payload", "several.json"], 2),
    "payload: the run chosen": Case(["payload", "several.json", "--run", HOSTILE], 2),
    "payload: a run's name": Case(["payload", "name.json"], 0, SHOWN_IN_JSON),
    "payload: a missing child": Case(["payload", "children.json"], 0),
    "payload: a dropped artifact": Case(["payload", "dropped.json"], 0),
    "payload: a wrong type": Case(["payload", "wrong-type.json"], 1, r"\x1b[2J"),
    "payload: an equal key": Case(["payload", "twice.json"], 1, r"\x1b[2J"),
    "payload: broken YAML": Case(["payload", "broken.yaml"], 1, "not YAML"),
    "payload: a lone surrogate": Case(["payload", "surrogate.json"], 1, "not JSON"),
    "payload: a configuration": Case(["payload", "good.json", "--config", "config.json"], 2, r"\x1b[2J"),
    "attest: names": Case(["attest", "name.json", "namespace.json", "--key", "signing.key", *INTO], 0),
    "attest: names, as JSON": Case(["attest", "name.json", "namespace.json", "--key", "signing.key", *INTO, "--output", "json"], 0, SHOWN_IN_JSON),
    "attest: warnings": Case(["attest", "dropped.json", "children.json", "--key", "signing.key", *INTO], 0),
    "attest: a key": Case(["attest", "good.json", "--key", f"{HOSTILE}.key"], 2),
    "attest: a key's scheme": Case(["attest", "good.json", "--key", f"awskms:///{HOSTILE}"], 2, "key "),
    "attest: a store": Case(["attest", "good.json", "--key", "signing.key", "--store", f"ftp://{HOSTILE}"], 2, r"\x1b]0;owned"),
    "attest: a place": Case(["attest", "good.json", "--key", "signing.key", "--store", f"file:{NAME}"], 0),
    "verify: a target": Case(["verify", HOSTILE, *BY_KEY, *FROM], 2),
    "verify: a bundle file": Case(["verify", "bundle.json", *BY_KEY], 1, r"\x1b"),
    "verify: a bundle file, as JSON": Case(["verify", "bundle.json", *BY_KEY, "--output", "json"], 1, r"\\x1b[2J"),
    "verify: a run": Case(["verify", "name.json", *BY_KEY, *FROM], 0),
    "verify: a run, as JSON": Case(["verify", "name.json", *BY_KEY, *FROM, "--output", "json"], 0, SHOWN_IN_JSON),
    "verify: another's evidence": Case(["verify", DIGEST, *BY_KEY, "--store", "file:strange"], 1),
    "verify: a builder": Case(["verify", DIGEST, *BY_KEY, *FROM, "--builder-id", HOSTILE], 1),
    "verify: a predicate type": Case(["verify", DIGEST, *BY_KEY, *FROM, "--predicate-type", HOSTILE], 1),
    "verify: a key": Case(["verify", DIGEST, "--key", f"{HOSTILE}.pub", *FROM], 2),
    "verify: a broken key": Case(["verify", DIGEST, "--key", "key.pem", *FROM], 2, "key.pem"),
    "verify: a key set": Case(["verify", DIGEST, "--key", "keyset.json", *FROM], 2, "keyset.json"),
    "verify: a trusted root": Case(["verify", DIGEST, *BY_KEY, *FROM, "--trusted-root", "root.json"], 2, "root.json"),
    "verify: a regular expression": Case(["verify", DIGEST, *FROM, "--certificate-identity-regexp", f"({HOSTILE}", "--certificate-oidc-issuer", "x"], 2),
    "verify: a digest": Case(["verify", "bundle.json", *BY_KEY, "--digest", HOSTILE], 2),
    "get: everything": Case(["get", "--store", "file:strange"], 0),
    "get: everything, as JSON": Case(["get", "--store", "file:strange", "--output", "json"], 0, SHOWN_IN_JSON),
    "get: a target": Case(["get", HOSTILE, *FROM], 2),
    "get: a place": Case(["get", "--store", f"file:{NAME}"], 0),
    "get: a time": Case(["get", *FROM, "--since", HOSTILE], 2),
    "copy: a place": Case(["copy", "file:evidence", f"file:{NAME}-copy"], 0, "copied"),
    "copy: a store": Case(["copy", f"ftp://{HOSTILE}", "file:elsewhere"], 2, r"\x1b]0;owned"),
    "copy: a journal": Case(["copy", "file:evidence", "file:elsewhere", "--journal", f"missing/{HOSTILE}"], 1),
    "export: a folder": Case(["export", f"{NAME}-pack", *BY_KEY, *FROM], 0),
    "export: a folder, as JSON": Case(["export", f"{NAME}-pack2", *BY_KEY, *FROM, "--output", "json"], 0, SHOWN_IN_JSON),
    "export: a root": Case(["export", "pack3", *BY_KEY, *FROM, "--trusted-root", f"{NAME}.json-missing"], 2),
    "config lint": Case(["config", "lint", "config.json"], 1),
    "config lint, as JSON": Case(["config", "lint", "config.json", "--output", "json"], 1, SHOWN_IN_JSON),
    "config lint: a file name": Case(["config", "lint", f"{HOSTILE}.yaml"], 2),
    "keys generate": Case(["keys", "generate", f"{NAME}.key"], 0),
    "keys generate, as JSON": Case(["keys", "generate", f"{NAME}2.key", "--output", "json"], 0, SHOWN_IN_JSON),
    "keys public": Case(["keys", "public", f"{HOSTILE}/none.key"], 2),
    "keys export": Case(["keys", "export", f"{HOSTILE}/none.pub"], 2),
    "keys export: a key id": Case(["keys", "export", "signing.pub", "--revoke", HOSTILE], 2),
    "policy: a file": Case(["policy", "lint", f"{HOSTILE}.yaml"], 2),
    "preflight: a policy": Case(["preflight", f"{HOSTILE}.yaml", "good.json"], 2),
    "blast-radius: a builder": Case(["blast-radius", "--builder", HOSTILE, *FROM], 0),
    "blast-radius: a builder, as JSON": Case(["blast-radius", "--builder", HOSTILE, *FROM, "--output", "json"], 0, SHOWN_IN_JSON),
    "inspect: a target": Case(["inspect", HOSTILE, *BY_KEY, *FROM], 2),
    "inspect: a run": Case(["inspect", "name.json", *BY_KEY, *FROM], 0),
    "inspect: a run, as JSON": Case(["inspect", "name.json", *BY_KEY, *FROM, "--output", "json"], 0, SHOWN_IN_JSON),
    "inspect: another's evidence": Case(["inspect", DIGEST, *BY_KEY, "--store", "file:strange"], 1),
    "diff: two runs": Case(["diff", "good.json", "name.json", *BY_KEY, *FROM], 0),
    "diff: two runs, as JSON": Case(["diff", "good.json", "name.json", *BY_KEY, *FROM, "--output", "json"], 0, SHOWN_IN_JSON),
    "lineage: an image": Case(["lineage", DIGEST, *BY_KEY, *FROM], 0),
    "lineage: a target": Case(["lineage", HOSTILE, *BY_KEY, *FROM], 2),
    "index build: a place": Case(["index", "build", "--index", "made.db", *BY_KEY, "--store", f"file:{NAME}"], 0, "made.db"),
    "index stats: a place": Case(["index", "stats", "--index", "made.db"], 0),
    "index stats: a file": Case(["index", "stats", "--index", f"{HOSTILE}.db"], 2),
    "search: a word": Case(["search", HOSTILE.replace(":", ""), "--index", "made.db"], 3, r"\x1b"),
    "search: a name": Case(["search", "outcome:succeeded", "--index", "made.db"], 0),
    "search: a name, as JSON": Case(["search", "outcome:succeeded", "--index", "made.db", "--output", "json"], 0, SHOWN_IN_JSON),
    "audit: a run": Case(["audit", "--runs", "name.json", *BY_KEY, "--store", "file:strange"], 1),
    "audit: a run, as JSON": Case(["audit", "--runs", "name.json", *BY_KEY, "--store", "file:strange", "--output", "json"], 1, SHOWN_IN_JSON),
    "audit: a file": Case(["audit", "--runs", f"missing-{NAME}.json", *BY_KEY, *FROM], 2),
    "ledger: a folder": Case(["ledger", "verify", HOSTILE, *BY_KEY], 3),
    "revoke: a reason": Case(["revoke", "show", "list.json"], 0),
    "revoke: a reason, as JSON": Case(["revoke", "show", "list.json", "--output", "json"], 0, SHOWN_IN_JSON),
    "revoke: a builder": Case(["revoke", "add", "list2.json", "--builder", HOSTILE, "--reason", "r"], 2),
    "revoke: a file": Case(["revoke", "sign", f"{HOSTILE}.json", "--key", "signing.key"], 1),
    "admission: a folder": Case(["admission", "p.yaml", "--certificates", HOSTILE, "--no-cluster"], 2),
    "admission: a workload": Case(["admission", "p.yaml", "--certificates", "tls", "--workload", HOSTILE, "--no-cluster"], 2),
    "admission-certificates: a kubeconfig": Case(["admission-certificates", "--kubeconfig", HOSTILE], 2),
    "completion: a shell": Case(["completion", HOSTILE], 2),
    "help: a word": Case(["help", HOSTILE], 2),
    "man: a folder": Case(["man", NAME + "-pages"], 0),
    "version: a form": Case(["version", "--output", HOSTILE], 2),
    "doctor: a configuration": Case(["doctor", "--config", "config.json", "--signing-secrets", NAME], 1),
    "doctor: a configuration, as JSON": Case(["doctor", "--config", "config.json", "--signing-secrets", NAME, "--output", "json"], 1, SHOWN_IN_JSON),
    "doctor: a store's URL": Case(["doctor", "--config", "config-url.json", "--signing-secrets", NAME], 1),
    "doctor: a kubeconfig": Case(["doctor", "--kubeconfig", HOSTILE], 2),
    "controller: a kubeconfig": Case(["controller", "--kubeconfig", HOSTILE], 2),
    "controller: a number": Case(["controller", "--workers", HOSTILE], 2, r"\x1b[2J"),
    "resign: a kubeconfig": Case(["resign", "team/build", "--kubeconfig", HOSTILE], 2),
    "backfill: a time": Case(["backfill", "--since", HOSTILE, "--kubeconfig", "x"], 2),
    "access: a file": Case(["access", "check", HOSTILE], 1),
    "retention: a file": Case(["retention", "lint", HOSTILE], 1),
    "report: a run": Case(["report", "--runs", "name.json", *BY_KEY, "--store", "file:strange", "--out", "reported"], 1, "1 failed"),
    "report: a folder": Case(["report", "check", HOSTILE], 2),
    "web: an address": Case(["web", "--host", HOSTILE], 2, r"\x1b[2J"),
    "finalizers: a kubeconfig": Case(["finalizers", "release", "--kubeconfig", HOSTILE], 2),
}  # fmt: skip


def assert_harmless(stream: bytes, name: str) -> str:
    """Hold that nothing in it is obeyed by a terminal, and that no value of it begins a line."""
    text = stream.decode("utf-8")
    for line in text.split("\n"):
        bad = {hex(ord(char)) for char in line if unicodedata.category(char) in FREE}
        assert not bad, f"{name}: {bad} in {line!r}"
        assert not line.startswith((FORGED, "VERIFIED everything")), f"{name}: a forged line: {line!r}"
    assert not set(stream) & {*range(0x0A), *range(0x0B, 0x20), 0x7F}, name
    return text


RUNNER = """
import json, os, sys
import chains.attest.flow, chains.doctor.local, chains.verify.verifier, chains.assembly.workspace  # once for all of them
from chains.__main__ import main

for number, (arguments, environment) in enumerate(json.load(sys.stdin)):
    if os.fork():
        _, status = os.wait()
        print(os.waitstatus_to_exitcode(status), flush=True)
        continue
    for stream, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{number}.{name}", os.O_WRONLY | os.O_CREAT), stream)
    os.environ.update(environment)
    sys.argv[1:] = [os.fsdecode(bytes.fromhex(one)) for one in arguments]
    try:
        code = main()
    except SystemExit as ended:
        code = ended.code
    except BaseException as failure:
        sys.excepthook(type(failure), failure, failure.__traceback__)
        code = 99
    sys.stdout.flush()
    os._exit(code)
"""


@dataclass
class Done:
    """What a command left behind."""

    code: int
    out: bytes
    err: bytes


@pytest.fixture(scope="module")
def done(folder: Path) -> dict[str, Done]:
    """Every case run in a process of its own, forked where everything is imported."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("CHAINS_")}
    given = json.dumps(
        [
            ([os.fsencode(one).hex() for one in case.arguments], case.environment)
            for case in (*CASES.values(), Case(["--help"], 0))
        ]
    )
    ran = subprocess.run(
        [sys.executable, "-c", RUNNER],
        check=True,
        input=given.encode(),
        stdout=subprocess.PIPE,
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        timeout=280,
    )
    codes = [int(line) for line in ran.stdout.split()]
    return {
        name: Done(
            codes[number], (folder / f"{number}.out").read_bytes(), (folder / f"{number}.err").read_bytes()
        )
        for number, name in enumerate([*CASES, "help"])
    }


@pytest.mark.parametrize("name", CASES)
def test_no_text_of_a_stranger_is_obeyed_by_a_terminal(done: dict[str, Done], name: str) -> None:
    case, got = CASES[name], done[name]
    # a signed document is exact in a pipe, as documented: what JSON itself does not escape stays in it
    is_document = case.arguments[:1] == ["payload"] and got.code == 0
    out = got.out.decode() if is_document else assert_harmless(got.out, "standard output")
    err = assert_harmless(got.err, "standard error")
    assert got.code == case.code, out + err
    assert "unexpected" not in err
    if not is_document or case.shows == SHOWN:
        # the text may be folded at any character
        assert "".join(case.shows.split()) in "".join((err if is_document else out + err).split())


def test_every_command_has_a_case(done: dict[str, Done]) -> None:
    lines = (
        done["help"]
        .out.decode()
        .partition("Make evidence:\n")[2]
        .partition("\n\n  exit codes")[0]
        .splitlines()
    )
    commands = {line.split()[0] for line in lines if line.startswith("  ") and line[2:3].strip()}
    assert {"payload", "attest", "verify", "doctor"} <= commands
    assert commands == {case.arguments[0] for case in CASES.values()} - {HOSTILE}
