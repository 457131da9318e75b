"""No secret gets into a report, and with a key the same secret always reads the same."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from chains.beside import Beside
from chains.config import parse_config
from chains.errors import ConfigError
from chains.payload import EXECUTION_REPORT, build_payloads
from chains.redaction import Redaction, RedactionSettings, environment, open_redaction
from chains.snapshot import take_snapshot
from tests.faults.hermetic import objects

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
    assert environment(variables, rules) == [
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
    # a secret that begins where it is shown and ends where it is not is no secret told
    assert "hunter2" not in rules.argument("x" * 240 + " password=" + "hunter2" * 200)


def test_a_hostile_argument_is_looked_at_in_no_time() -> None:
    began = time.monotonic()
    for text in ("token" * 200_000, "a" * 1_000_000, "-" * 1_000_000, "://" * 300_000, "eyJ" * 300_000):
        Redaction().argument(text)
    assert time.monotonic() - began < 2


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
        take_snapshot(run), parse_config({}), {"taskrun/ci/build": Beside(pod=pod)}, rules
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
