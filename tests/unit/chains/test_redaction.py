"""No secret gets into a report, and with a key the same secret always reads the same."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis.strategies import from_regex

from chains.attest.outcome import FAILED, Outcome
from chains.attest.payloads import EXECUTION_REPORT, build_payloads
from chains.attest.stores import Entry
from chains.cluster.events import write_event
from chains.config.parse import parse_config
from chains.controller.log_lines import JsonLines
from chains.controller.marks.patches import compact_outcome
from chains.controller.work.retry import Trouble
from chains.errors import ConfigError
from chains.masking.forms import known_spans, mask, merged
from chains.masking.token_forms import FORMS
from chains.statements.redaction import Redaction, environment, open_redaction
from chains.statements.redaction_settings import RedactionSettings
from chains.tekton.container import parse_variable
from chains.tekton.snapshot import take_snapshot
from chains.tekton.surroundings import parse_surroundings
from chains.terminal import say
from tests.faults.hermetic import objects
from tests.testbed.secret_corpus import HARD, Planted, ordinary, planted

Json = Any
KEY = b"0123456789abcdef"
PEM = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("--password=hunter2", "--password=[redacted]"),
        ("--PASSWORD=hunter2", "--PASSWORD=[redacted]"),
        ("DB_PASSWD: hunter2", "DB_PASSWD: [redacted]"),
        ("api_key='a b c' and more", "api_key=[redacted] and more"),
        ("https://user:hunter2@example.com/x", "https://[redacted]@example.com/x"),
        ("Authorization: Bearer abcdefgh.ijkl", "Authorization: Bearer [redacted]"),
        ("-H authorization:hunter2", "-H authorization:[redacted]"),
        ("Authorization: token hunter2", "Authorization: token [redacted]"),
        ("curl -H 'x: bearer abcdefghijkl'", "curl -H 'x: bearer [redacted]'"),
        ("x eyJhbGciOiJub25l.eyJzdWIi.sig y", "x [redacted] y"),
        ("ghp_0123456789abcdef", "[redacted]"),
        ("AKIAIOSFODNN7EXAMPLE", "[redacted]"),
        (f"key {PEM} end", "key [redacted] end"),
        (f"key {PEM[:45]}", "key [redacted]"),
        ("-p hunter2", "-p [redacted]"),
        ("docker login -u bob -p hunter2 reg", "docker login -u bob -p [redacted] reg"),
        ("mysql -uroot -phunter2", "mysql -uroot -p[redacted]"),
        ("curl -u a:b https://x", "curl -u a:[redacted] https://x"),
        ("curl -ua:hunter2 https://x", "curl -ua:[redacted] https://x"),
        ("DB_PASS=hunter2", "DB_PASS=[redacted]"),
        ('{"password":"hunter2"}', '{"password":[redacted]}'),
        ('{"password":"hun\\"ter2"}', '{"password":[redacted]}'),
        ("AIza" + "Sy" * 18, "[redacted]"),
        ("sk-" + "live-" + "Ab1" * 8, "[redacted]"),
        ("sk_" + "live_" + "Ab1" * 8, "[redacted]"),
        ("https://hooks.slack.com/services/T0/B0/" + "Ab1" * 8, "https://hooks.slack.com/[redacted]"),
        ("mkdir -p /workspace/out", "mkdir -p /workspace/out"),
        ("mkdir -p out && cp -p a b", "mkdir -p out && cp -p a b"),
        ("docker run -p 8080:80 -u 1000:1000 app", "docker run -p 8080:80 -u 1000:1000 app"),
        ("docker login --password-stdin reg", "docker login --password-stdin reg"),
        ("--token-file=/run/token", "--token-file=/run/token"),
        ("PASSWORD=$PASSWORD", "PASSWORD=$PASSWORD"),
        ("-token", "-token"),
        ("author=jane", "author=jane"),
        ("build ./cmd/app -o /workspace/out", "build ./cmd/app -o /workspace/out"),
        ("sha256:" + "ab" * 32, "sha256:" + "ab" * 32),
        ("", ""),
    ],
)
def test_what_looks_like_a_secret_is_replaced_in_arguments(text: str, shown: str) -> None:
    assert Redaction().argument(text) == shown


def test_the_value_after_an_option_that_names_a_secret_is_replaced() -> None:
    words = ["login", "--username", "robot", "--password", "hunter2", "--registry-token", "x", "last"]
    shown = [
        "login",
        "--username",
        "robot",
        "--password",
        "[redacted]",
        "--registry-token",
        "[redacted]",
        "last",
    ]
    assert Redaction().command_line(words) == shown
    assert Redaction().command_line(["--token", "--token", "x"]) == ["--token", "[redacted]", "x"]


def test_with_a_key_secrets_become_hashes_that_stay_the_same() -> None:
    rules = Redaction(KEY)
    expected = hmac.new(KEY, b"hunter2", hashlib.sha256).hexdigest()
    assert rules.argument("--password=hunter2") == f"--password=[hmac-sha256:{expected}]"
    assert rules.command_line(["--password", "hunter2"])[1] == f"[hmac-sha256:{expected}]"
    # the name is part of what is hashed, so that equal values of two variables cannot be told
    one = hmac.new(KEY, b"A=hunter2", hashlib.sha256).hexdigest()
    assert rules.variable("A", "hunter2") == {"hmac-sha256": one}
    assert rules.variable("B", "hunter2") != rules.variable("A", "hunter2")
    assert rules.variable("A", "hunter2") == Redaction(KEY).variable("A", "hunter2")
    assert Redaction(b"another key of sixteen").variable("A", "hunter2") != rules.variable("A", "hunter2")
    assert "0123456789abcdef" not in repr(rules)


def test_variables_are_left_out_unless_they_may_be_shown() -> None:
    rules = Redaction(shown=frozenset(["GOFLAGS", "URL"]))
    variables = [
        {"name": "GOFLAGS", "value": "-trimpath"},
        {"name": "URL", "value": "https://user:hunter2@example.com"},
        {"name": "PIN", "value": "1234"},
        {"name": "EMPTY"},
        {"name": "TEKTON_HERMETIC", "value": "1"},
        {"name": "NODE", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "spec.nodeName"}}},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "one", "optional": True}}},
        {"name": "ODD", "valueFrom": {}},
        {"name": "ODDER", "value": 5},
    ]
    assert environment(map(parse_variable, variables), rules) == [
        {"name": "GOFLAGS", "value": "-trimpath"},
        {"name": "URL", "value": "https://[redacted]@example.com"},
        {"name": "PIN", "redacted": True},
        {"name": "EMPTY", "redacted": True},
        {"name": "TEKTON_HERMETIC", "value": "1"},
        {"name": "NODE", "from": "fieldRef spec.nodeName"},
        {"name": "KEY", "from": "secretKeyRef keys/one"},
        {"name": "ODD", "from": "a reference"},
        {"name": "ODDER", "redacted": True},
    ]


def test_a_configured_pattern_is_redacted_too() -> None:
    group = Redaction(arguments=re.compile(r"--customer[= ](\w+)"))
    assert group.argument("--customer=acme --out x") == "--customer=[redacted] --out x"
    assert Redaction(arguments=re.compile("acme-[0-9]+")).argument("for acme-12") == "for [redacted]"


def test_long_arguments_and_many_are_cut() -> None:
    rules = Redaction()
    assert rules.argument("x" * 300) == "x" * 256 + "… (300 characters)"
    assert rules.command_line(["x"] * 70)[-1] == "… (70 words)"
    assert len(rules.command_line(["x"] * 70)) == 65
    # what is not looked at is not shown either, however much of what is before it was replaced
    long = "password=" + "x" * 1000 + ' {"n":"' + token()
    assert rules.argument(long) == f"password=[redacted]… ({len(long)} characters)"
    # a secret that begins where it is shown and ends where it is not is no secret told
    assert "hunter2" not in rules.argument("x" * 240 + " password=" + "hunter2" * 200)


HOSTILE = """
import resource
resource.setrlimit(resource.RLIMIT_CPU, (15, 15))
from chains.statements.redaction import Redaction
from chains.masking.forms import mask
parts = ["token", "a", "-", "://", "eyJ", "eyJ-", "password=", "password:,a=", "'", '"', "\\\\", "$(", " -p ", " -u a:",
         "ghp_", "xoxb-1-", "-----BEGIN ", "<password", "key ", "AccountKey", "login a password ", ".", "SG.", "0" * 15]
for part in parts:
    for text in (part * (100_000 // len(part)), "password=" + part * 25_000, part * 300 + "!" + part * 300):
        Redaction().argument(text)
        Redaction().command_line([text] * 64)
        mask(text)
print("looked at everything")
"""


def test_no_text_costs_more_than_its_length() -> None:
    """The process may use fifteen seconds of the processor for 72 texts of up to 400,000 characters."""
    done = subprocess.run([sys.executable, "-c", HOSTILE], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "looked at everything\n"


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_made_up_secrets_of_every_kind_are_found_and_ordinary_command_lines_stay(seed: int) -> None:
    """The numbers are in docs/execution-report.md: what is missed has neither a form nor a name."""
    rules, lines, without = Redaction(), planted(seed), ordinary(seed)
    missed = [one for one in lines if one.leaks(rules.command_line(one.words))]
    changed = [words for words in without if "[redacted]" in "".join(rules.command_line(words))]
    hard = [one for one in lines if one.kind == HARD]
    print(f"seed {seed}: missed {len(missed)} of {len(lines)}, changed {len(changed)} of {len(without)}")
    assert [one for one in missed if one.kind != HARD] == []
    assert changed == []
    assert (len(lines), len(hard), len(missed), len(without)) == (2047, 20, 20, 541)


def test_the_corpus_tells_a_leak_from_none() -> None:
    one = Planted("x", ("tool", "abcdefghijkl"), "abcdefghijkl")
    assert one.leaks(["tool", "abcdefghijkl"])
    assert one.leaks(["…cdefghijkl"])
    assert not one.leaks(["tool", "[redacted]"])
    assert Planted("x", ("tool", "abc"), "abc").leaks(["tool abc"])


@pytest.mark.parametrize(
    "form", [one for forms in FORMS.values() for one in forms], ids=[f"{issuer} {number}" for issuer, forms in FORMS.items() for number, _ in enumerate(forms)]
)  # fmt: skip
def test_whatever_has_the_form_of_an_issuer_is_found_whole(form: str) -> None:
    body = form.removeprefix(r"(?<![\w-])")
    found: list[str] = []

    @settings(max_examples=10, database=None, deadline=None, derandomize=True)
    @given(from_regex(re.compile(body, re.ASCII), fullmatch=True))
    def look(token: str) -> None:
        found.append(token)
        text = f"x {token}"
        assert any(first <= len("x ") and last >= len(text) for first, last in merged(known_spans(text))), (
            text
        )

    look()
    assert len(found) > 1


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("field x: expected a mapping, got 'password=hunter2'", "field x: expected a mapping, got 'password=[redacted]'"),
        ('got {"password": "hunter2"}', 'got {"password": [redacted]}'),
        ("https://user:hunter2@example.com/x answered 500", "https://[redacted]@example.com/x answered 500"),
        ("Authorization: Bearer abcdefgh.ijkl refused", "Authorization: Bearer [redacted] refused"),
        ("token: expected a file, got nothing", "token: expected a file, got nothing"),
        ("signers.kms.auth.token: expected text", "signers.kms.auth.token: expected text"),
        ("key SHA256:IwSuO58TJ6A30BRmN/surxui8k+EmTEtF+43IfEj7i8", "key SHA256:IwSuO58TJ6A30BRmN/surxui8k+EmTEtF+43IfEj7i8"),
        ("storage.oci: registry.example.com/app@sha256:" + "ab" * 32, "storage.oci: registry.example.com/app@sha256:" + "ab" * 32),
    ],
)  # fmt: skip
def test_what_people_are_told_loses_its_secrets_and_keeps_our_sentences(told: str, shown: str) -> None:
    assert mask(told) == shown


def token() -> str:
    return "gh" + "p_" + "Ab1" * 12


def test_errors_marks_events_and_log_lines_hold_no_secret_that_a_run_quotes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = f"got '{token()}' and password=hunter2"
    shown = "got '[redacted]' and password=[redacted]"
    entry = Entry("provenance", "oci", "referrer", "app", "failed", text)
    outcome = Outcome("taskrun/a/b", "u", FAILED, text, (entry,), (text,))
    say(text, text)
    assert capsys.readouterr().err == f"chains: {shown}\n  {shown}\n"
    mark = json.loads(compact_outcome(outcome))
    assert (mark["reason"], mark["entries"][0]["detail"]) == (shown, shown)
    written = outcome.to_json()
    assert (written["reason"], written["entries"][0]["detail"], written["warnings"]) == (
        shown,
        shown,
        [shown],
    )
    record = logging.LogRecord("chains.x", logging.ERROR, "f", 1, "%s", (text,), None)
    record.reason = text
    line = json.loads(JsonLines().format(record))
    assert (line["message"], line["reason"]) == (shown, shown)
    trouble = Trouble(1_700_000_000.0)
    trouble.reason = text
    assert json.loads(trouble.note(1_700_000_100.0))["reason"] == shown
    made: list[Json] = []

    class Cluster:
        async def create(self, path: str, body: Json) -> None:
            made.append(body)

    about = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "n", "name": "c", "uid": "u"}
    asyncio.run(write_event(Cluster(), about, "ConfigRefused", text))  # type: ignore[arg-type]
    assert made[0]["message"] == shown
    assert replace(entry, state="stored").told == text, "a place is told as it is"


def test_a_compatible_format_keeps_the_words_of_the_run_as_tekton_chains_does() -> None:
    run = objects("nothing-wrong")["TaskRun"]
    run["spec"]["params"] = [{"name": "token", "value": token()}]
    payloads = build_payloads(take_snapshot(run), parse_config({"artifacts.taskrun.format": "slsa/v2alpha4"}))
    by_kind = {payload.kind: payload.statement for payload in payloads}
    assert token().encode() not in by_kind.pop(EXECUTION_REPORT)
    assert all(token().encode() in statement for statement in by_kind.values())
    assert len(by_kind) == 1


def test_settings_are_read_from_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_bytes(KEY + b"\n")
    data = {
        "execution.redaction.key-file": str(file),
        "execution.redaction.shown-variables": "GOFLAGS, CGO_ENABLED,,",
        "execution.redaction.arguments": "acme-[0-9]+",
    }
    settings = parse_config(data).redaction
    assert settings == RedactionSettings(str(file), frozenset(["GOFLAGS", "CGO_ENABLED"]), "acme-[0-9]+")
    rules = open_redaction(settings)
    assert (rules.key, rules.shown) == (KEY, settings.shown)
    assert rules.argument("acme-1").startswith("[hmac-sha256:")
    assert open_redaction(RedactionSettings()) == Redaction()


def test_settings_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"execution.redaction.arguments: expected a regular expression, got '\('"
    ):
        parse_config({"execution.redaction.arguments": "("})
    with pytest.raises(ConfigError, match="key-file: /none: No such file"):
        open_redaction(RedactionSettings("/none"))
    short = tmp_path / "short"
    short.write_bytes(b"15 bytes of key\n\n")
    with pytest.raises(ConfigError, match="expected at least 16 bytes, got 15"):
        open_redaction(RedactionSettings(str(short)))


def report(rules: Redaction) -> bytes:
    run, pod = (objects("injected-container")[kind] for kind in ("TaskRun", "Pod"))
    run["spec"]["podTemplate"]["env"].append({"name": "PIN", "value": "hunter2"})
    step = pod["spec"]["containers"][0]
    step["args"] += ["--password", "hunter2", "https://u:hunter2@example.com"]
    step["env"].insert(0, {"name": "TOKEN", "value": "hunter2"})
    payloads = build_payloads(
        take_snapshot(run), parse_config({}), {"taskrun/ci/build": parse_surroundings(pod=pod)}, rules
    )
    return next(payload.statement for payload in payloads if payload.kind == EXECUTION_REPORT)


def test_a_report_has_no_secret_and_the_same_bytes_each_time() -> None:
    for rules in (Redaction(), Redaction(KEY)):
        first = report(rules)
        assert b"hunter2" not in first
        assert report(rules) == first
    hashed = hmac.new(KEY, b"TOKEN=hunter2", hashlib.sha256).hexdigest()
    assert hashed in report(Redaction(KEY)).decode()
    assert json.loads(report(Redaction())) != json.loads(report(Redaction(KEY)))
