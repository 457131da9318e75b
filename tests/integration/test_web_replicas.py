"""Two processes of the evidence browser over one index in PostgreSQL: a login at one counts at the other."""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from chains.index.database import place_of
from tests.testbed.login_issuer import CLIENT, SECRET, login_issuer
from tests.testbed.ports import free_ports
from tests.testbed.postgres import is_installed, postgres
from tests.testbed.process import running
from tests.unit.chains.index.query.index import Row, Run, make_index

pytestmark = pytest.mark.server
URL = "https://chains.example"


class Stays(urllib.request.HTTPRedirectHandler):
    """Follows no redirect."""

    def redirect_request(self, *_: Any) -> None:
        return None


def get(port: int, path: str, **headers: str) -> tuple[int, str, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.build_opener(Stays).open(request, timeout=30) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


def cookie(headers: Any) -> str:
    """Return the first cookie that is set, as it goes back."""
    return str(headers.get_all("Set-Cookie")[0]).partition(";")[0]


def test_replicas_share_index_and_sessions(tmp_path: Path) -> None:
    if not is_installed() and not os.environ.get("CI"):
        pytest.skip("no PostgreSQL of Debian here")
    rows = [
        Row(
            f"{number:02x}" * 32,
            Run(f"00000000-0000-4000-8000-{number:012}", namespace, f"build-{number}"),
            "https://slsa.dev/provenance/v1",
            namespace=namespace,
        )
        for number, namespace in enumerate(("shop", "secret"), 1)
    ]
    with postgres("debian", tmp_path) as database, login_issuer() as issuer:
        place = make_index(place_of(database.database()), rows)
        (tmp_path / "session-key").write_text("k" * 64)
        (tmp_path / "client-secret").write_text(SECRET)
        (tmp_path / "access.yaml").write_text(
            f"""
oidc: {{issuer: "{issuer.url}", clientId: {CLIENT}, url: "{URL}", clientSecretFile: client-secret}}
sessionKeyFile: session-key
grants: [{{groups: [shop-devs], namespaces: [shop]}}]
"""
        )
        first, second, health = free_ports(3)
        command = [sys.executable, "-m", "chains", "web", "--index", str(place.url)]
        command += ["--access", str(tmp_path / "access.yaml"), "--access-log", str(tmp_path / "access.log")]
        with (
            running([*command, "--port", str(first)], tmp_path / "one.log", r"(web answers)"),
            running(
                [*command, "--port", str(second), "--health-port", str(health)],
                tmp_path / "two.log",
                r"(web answers)",
            ),
        ):
            # begun at the first, come back to the second
            status, _, headers = get(first, "/auth/login?to=/search")
            assert status == 303
            back = issuer.code(headers["Location"])[1].removeprefix(URL)
            status, _, headers = get(second, back, Cookie=cookie(headers))
            assert (status, headers["Location"]) == (303, "/search")
            session = cookie(headers)
            for port in (first, second):
                status, page, _ = get(port, "/search", Cookie=session)
                assert (status, "build-1" in page, "build-2" in page) == (200, True, False)
                status, body, _ = get(port, "/api/v1/search", Cookie=session)
                assert [one["namespace"] for one in json.loads(body)["results"]] == ["shop"]
                assert get(port, "/api/v1/search")[0] == 401
                assert get(port, "/search")[0] == 303
            assert get(health, "/readyz")[:2] == (200, "ok\n")
            database.stop()
            status, told, _ = get(health, "/readyz")
            assert status == 503
            assert "password" not in told
            status, body, _ = get(first, "/api/v1/search", Cookie=session)
            assert (status, json.loads(body)["type"]) == (503, "https://provenance.chains/problems/no-index")
            assert "postgres" not in body
            database.start()
            assert get(health, "/readyz")[:2] == (200, "ok\n")
            assert get(first, "/api/v1/search", Cookie=session)[0] == 200
        written = (tmp_path / "access.log").read_text()
        # both processes add whole lines to one file
        entries = [json.loads(line) for line in written.splitlines()]
        assert {one.get("viewer") for one in entries} == {None, "alice"}
        assert session.partition("=")[2] not in written
