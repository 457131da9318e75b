"""The token of the API's client: read from its file, read again when it was replaced."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from chains.cluster import client as module
from chains.cluster.access import Access
from chains.cluster.client import Cluster
from chains.cluster.discovery import find_access
from chains.cluster.errors import (
    ClusterError,
    ClusterForbidden,
    ClusterRejected,
    ClusterUnauthorized,
    ClusterUnavailable,
)
from chains.errors import UsageError


class Server:
    """An API server that takes one token and notes those it is given."""

    def __init__(self, token: str) -> None:
        self.token, self.given = token, list[str]()

    async def answer(self, request: web.Request) -> web.Response:
        self.given.append(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if self.given[-1] != self.token:
            return web.json_response({"message": "Unauthorized"}, status=401)
        status = int(request.path.rpartition("/")[2])
        return web.json_response({"message": "words"}, status=status)


def serving(file: Path, server: Server, work: Callable[[Cluster], Awaitable[None]]) -> None:
    async def go() -> None:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", server.answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            async with Cluster(Access(url, token_file=file)) as cluster:
                await work(cluster)
        finally:
            await runner.cleanup()

    asyncio.run(go())


def replace(file: Path, token: str) -> None:
    file.write_text(token)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("first\n")
    return path


def test_a_token_is_read_once_a_minute(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server("first")

    async def work(cluster: Cluster) -> None:
        await cluster.get("/200")
        replace(file, "second")
        await cluster.get("/200")
        server.token = "second"
        monkeypatch.setattr(module, "_TOKEN_SECONDS", 0.0)
        await cluster.get("/200")

    serving(file, server, work)
    assert server.given == ["first", "first", "second"]


def test_a_token_that_is_refused_is_read_again_at_once_and_the_request_sent_once_more(file: Path) -> None:
    server = Server("first")

    async def work(cluster: Cluster) -> None:
        await cluster.get("/200")
        replace(file, "second")
        server.token = "second"
        await cluster.patch("/200", {})
        server.token = "third"
        with pytest.raises(ClusterUnauthorized, match="GET /200: 401 Unauthorized"):
            await cluster.get("/200")

    serving(file, server, work)
    assert server.given == ["first", "first", "second", "second"]


def test_a_token_file_that_is_not_there_for_a_moment_may_be_there_later(file: Path) -> None:
    server = Server("first")
    file.unlink()

    async def work(cluster: Cluster) -> None:
        with pytest.raises(ClusterUnavailable, match=r"cannot read the token in .*: No such file"):
            await cluster.get("/200")
        replace(file, "first")
        await cluster.get("/200")

    serving(file, server, work)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, ClusterRejected), (403, ClusterForbidden), (429, ClusterUnavailable), (503, ClusterUnavailable)],
)
def test_each_refusal_has_its_kind(file: Path, status: int, kind: type[ClusterError]) -> None:
    async def work(cluster: Cluster) -> None:
        with pytest.raises(kind) as caught:
            await cluster.get(f"/{status}?limit=1")
        assert type(caught.value) is kind
        assert str(caught.value) == f"GET /{status}: {status} words"

    serving(file, Server("first"), work)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no such file"),
        ("token: [hunter2", "not YAML"),
        ("token: hunter2", "there is no current-context: pass --context NAME"),
        ("", "file is empty"),
        ("{current-context: a, contexts: []}", "Expected object with name a"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used_is_told_without_its_text(
    tmp_path: Path, text: str | None, words: str
) -> None:
    path = tmp_path / "kubeconfig"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError) as caught:
        find_access(str(path))
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_files_of_a_kubeconfig_are_beside_it_and_not_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "checkout"
    other.mkdir()
    monkeypatch.chdir(other)
    path = tmp_path / "kubeconfig"
    for name in ("token", "c.pem", "k.pem"):
        (tmp_path / name).write_text("x")
    user = {"tokenFile": "token", "client-certificate": "c.pem", "client-key": str(tmp_path / "k.pem")}
    config = {
        "current-context": "a",
        "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": user}],
    }
    path.write_text(json.dumps(config))
    access = find_access(str(path))
    assert access.token_file == tmp_path / "token"
    assert (access.certificate, access.key) == (tmp_path / "c.pem", tmp_path / "k.pem")


POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


@pytest.mark.parametrize(
    ("host", "port", "server"),
    [
        ("10.0.0.1", "443", "https://10.0.0.1:443"),
        ("10.0.0.1", "6443", "https://10.0.0.1:6443"),
        ("fd00:10:96::1", "443", "https://[fd00:10:96::1]:443"),
        ("api.example.com", "443", "https://api.example.com:443"),
    ],
)
def test_in_a_pod_the_api_server_is_where_the_kubelet_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, port: str, server: str
) -> None:
    (tmp_path / "token").write_text("a token")
    (tmp_path / "ca.crt").write_text("an authority")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", port)
    assert find_access(account=tmp_path) == Access(server, "an authority", token_file=tmp_path / "token")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"KUBERNETES_SERVICE_HOST": ""}, "but no KUBERNETES_SERVICE_HOST, which"),
        ({"KUBERNETES_SERVICE_PORT": " "}, "but no KUBERNETES_SERVICE_PORT, which"),
        (
            {"KUBERNETES_SERVICE_HOST": "", "KUBERNETES_SERVICE_PORT": ""},
            "but no KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, which",
        ),
        ({"KUBERNETES_SERVICE_PORT": "tcp://10.0.0.1:443"}, "expected a number"),
    ],
)
def test_a_pod_without_the_kubelets_variables_is_told_which_one_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, str], words: str
) -> None:
    (tmp_path / "token").write_text("a token")
    (tmp_path / "ca.crt").write_text("an authority")
    for name, value in {**POD, **changed}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=words):
        find_access(account=tmp_path)


def test_a_service_account_without_an_authority_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_text("a token")
    for name, value in POD.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=r"ca\.crt cannot be read: No such file"):
        find_access(account=tmp_path)


def test_outside_of_a_pod_without_a_kubeconfig_the_next_step_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(
        UsageError, match="run in a pod with a service account, pass --kubeconfig FILE, or set"
    ):
        find_access(account=tmp_path)
