"""``chains access`` and the options of ``chains web`` that say who is let in."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from chains.cli.main import run as chains
from tests.testbed.ports import free_ports
from tests.testbed.process import running
from tests.unit.chains.index.query.index import Row, Run, sqlite_index

ACCESS = """
proxy: {from: [127.0.0.1]}
grants: [{users: [alice], namespaces: [shop]}]
"""


def test_an_address_that_others_reach_needs_access(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "chains.example"):
        assert chains(["web", "--index", str(tmp_path / "index.db"), "--host", host]) == 2
        told = capsys.readouterr().err
        assert f"--host {host}: others reach this address" in told
        assert "pass --access FILE" in told


def test_a_wrong_access_file_is_an_error_before_anything_listens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "access.yaml"
    path.write_text(ACCESS.replace("users", "user"))
    assert chains(["web", "--host", "0.0.0.0", "--access", str(path)]) == 2
    assert "grants[0].user: unknown key" in capsys.readouterr().err
    path.write_text(ACCESS)
    log = str(tmp_path / "nowhere" / "log")
    assert chains(["web", "--access", str(path), "--access-log", log]) == 1
    assert "the access log cannot be written" in capsys.readouterr().err
    assert chains(["web", "--access", str(path), "--health-port", "9", "--processes", "2"]) == 2
    assert "--health-port counts one process" in capsys.readouterr().err


def test_check_tells_errors_and_warnings_of_an_access_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "access.yaml"
    path.write_text(ACCESS)
    assert chains(["access", "check", str(path)]) == 0
    assert capsys.readouterr().out == f"{path}: 0 errors, 0 warnings\n"
    path.write_text(ACCESS + "sesion: 1h\n")
    assert chains(["access", "check", str(path)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "error: sesion: unknown key; known keys: proxy, oidc, tokens, grants, rateLimit, session, "
        "sessionKeyFile; did you mean session?",
        f"{path}: 1 error, 0 warnings",
    ]


def test_a_token_is_shown_once_and_its_entry_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["access", "token", "auditor-2026", "--until", "2027-03-01"]
    assert chains([*arguments, "--namespace", "shop", "--namespace", "dev"]) == 0
    printed = capsys.readouterr()
    token = printed.out.strip()
    assert re.fullmatch(r"chains_[A-Za-z0-9_-]{43}", token)
    assert token not in printed.err
    entry = printed.err.splitlines()[-1]
    assert hashlib.sha256(token.encode()).hexdigest() in entry
    path = tmp_path / "access.yaml"
    path.write_text(f"tokens:\n{entry}\n")
    assert chains(["access", "check", str(path)]) == 0
    capsys.readouterr()
    for wrong in (
        arguments,
        [*arguments, "--all-namespaces", "--namespace", "shop"],
        ["access", "token", "x", "--namespace", "shop"],
        ["access", "token", "x", "--until", "soon", "--namespace", "shop"],
        ["access", "token", "x", "--until", "2020-01-01", "--namespace", "shop"],
    ):
        assert chains(wrong) == 2, wrong


def test_the_process_asks_who_looks_and_tells_how_it_is(tmp_path: Path) -> None:
    index = tmp_path / "index.db"
    rows = [
        Row(
            f"{number:02x}" * 32,
            Run(f"00000000-0000-4000-8000-00000000000{number}", name, f"build-{number}"),
            "x",
            namespace=name,
        )
        for number, name in enumerate(("shop", "secret"), 1)
    ]
    sqlite_index(index, rows)
    (tmp_path / "access.yaml").write_text(ACCESS)
    port, health = free_ports(2)
    command = [sys.executable, "-m", "chains", "web", "--index", str(index), "--port", str(port)]
    command += ["--health-port", str(health), "--access", str(tmp_path / "access.yaml")]
    command += ["--access-log", str(tmp_path / "access.log")]

    def get(at: int, path: str, **headers: str) -> tuple[int, str]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            with urllib.request.urlopen(
                urllib.request.Request(f"http://127.0.0.1:{at}{path}", headers=named)
            ) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    with running(command, tmp_path / "log", r"(web answers)", env=dict(os.environ)):
        assert get(port, "/search")[0] == 401
        status, page = get(port, "/search", X_Forwarded_User="alice")
        assert (status, "build-1" in page, "build-2" in page) == (200, True, False)
        assert get(health, "/healthz") == (200, "ok\n")
        assert get(health, "/readyz") == (200, "ok\n")
        assert 'chains_web_requests_total{status="4xx"} 1.0' in get(health, "/metrics")[1]
        # what is on one port is not on the other
        assert get(health, "/search")[0] == 404
        assert get(port, "/metrics", X_Forwarded_User="alice")[0] == 404
        index.unlink()
        status, told = get(health, "/readyz")
        assert (status, "there is no index" in told or "no index" in told) == (503, True), told
    entries = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    assert [(one.get("viewer"), one["status"]) for one in entries] == [
        (None, 401),
        ("alice", 200),
        ("alice", 404),
    ]
