"""Kubeconfigs as people have them, held against the real API server: who it says that we are."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from chains.assembly.key_sources import read_source
from chains.cli.main import run as chains
from chains.cluster.client import Cluster
from chains.cluster.discovery import find_access
from chains.errors import UsageError
from signers.keys.keyset import KeyStatus, ListedKey, write_keyset
from tests.faults.verify.forge import public
from tests.testbed.cluster import ApiServer
from tests.testbed.connect_proxy import connect_proxy

pytestmark = pytest.mark.server
Json = Any
REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


def encoded(data: bytes) -> str:
    return b64encode(data).decode()


def write(path: Path, api: ApiServer, user: Json, *, current: str | None = "here", **cluster: Json) -> Path:
    """Write a kubeconfig of one context, ``here``."""
    config: Json = {
        "apiVersion": "v1",
        "kind": "Config",
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": "ci"}}],
        "clusters": [
            {
                "name": "here",
                "cluster": {
                    "server": api.url,
                    "certificate-authority-data": encoded(api.ca_file.read_bytes()),
                    **cluster,
                },
            }
        ],
        "users": [{"name": "me", "user": user}],
    }
    if current is not None:
        config["current-context"] = current
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    return path


def who(kubeconfig: str, context: str = "") -> Json:
    """Return the user as the API server knows it."""

    async def ask() -> Json:
        async with Cluster(find_access(kubeconfig, context)) as cluster:
            body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
            return (await cluster.create(REVIEW, body))["status"]["userInfo"]

    return asyncio.run(ask())


def plugin(folder: Path, answer: Json, *, name: str = "plugin", code: int = 0) -> Json:
    """Write an exec plugin that counts its calls, and return its entry."""
    path = folder / name
    path.write_text(
        f"#!{sys.executable}\n"
        "import json, os, sys\n"
        f"open({str(folder / 'calls')!r}, 'a').write(os.environ['KUBERNETES_EXEC_INFO'] + '\\n')\n"
        f"print(json.dumps({answer!r}))\n"
        f"sys.exit({code})\n"
    )
    path.chmod(0o755)
    version = "client.authentication.k8s.io/v1"
    return {
        "apiVersion": version,
        "command": f"./{name}",
        "interactiveMode": "Never",
        "provideClusterInfo": True,
    }


def credential(**status: Json) -> Json:
    return {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}


def test_certificates_inline_are_used_as_kind_kubeadm_and_k3s_write_them(
    api_server: ApiServer, tmp_path: Path
) -> None:
    assert api_server.clients is not None
    certificate, key = api_server.clients.issue("eve", "builders")
    user = {"client-certificate-data": encoded(certificate), "client-key-data": encoded(key)}
    found = who(str(write(tmp_path / "config", api_server, user)))
    assert (found["username"], "builders" in found["groups"]) == ("eve", True)


def test_files_are_named_relative_to_the_kubeconfig(
    api_server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "token").write_text(api_server.token)
    (folder / "ca.crt").write_bytes(api_server.ca_file.read_bytes())
    path = write(folder / "config", api_server, {"tokenFile": "token"})
    content = json.loads(path.read_text())
    cluster = content["clusters"][0]["cluster"]
    del cluster["certificate-authority-data"]
    cluster["certificate-authority"] = "ca.crt"
    path.write_text(json.dumps(content))
    assert who("elsewhere/config")["username"] == "admin"


def test_a_token_file_wins_over_a_token_as_for_kubectl(api_server: ApiServer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(api_server.token)
    assert (
        who(str(write(tmp_path / "config", api_server, {"token": "stale", "tokenFile": "token"})))["username"]
        == "admin"
    )


def test_an_exec_plugin_gives_the_token_and_is_asked_again_when_it_has_ended(
    api_server: ApiServer, tmp_path: Path
) -> None:
    ended = credential(token=api_server.token, expirationTimestamp="2020-01-01T00:00:00Z")
    path = write(tmp_path / "config", api_server, {"exec": plugin(tmp_path, ended)})
    assert who(str(path))["username"] == "admin"
    calls = (tmp_path / "calls").read_text().splitlines()
    assert len(calls) > 1
    assert json.loads(calls[0])["spec"]["cluster"]["server"] == api_server.url


def test_an_exec_plugin_gives_a_certificate(api_server: ApiServer, tmp_path: Path) -> None:
    assert api_server.clients is not None
    certificate, key = api_server.clients.issue("carol")
    answer = credential(clientCertificateData=certificate.decode(), clientKeyData=key.decode())
    path = write(tmp_path / "config", api_server, {"exec": plugin(tmp_path, answer)})
    assert who(str(path))["username"] == "carol"


def test_an_exec_plugin_that_fails_is_an_error_and_nobody_is_asked_as_anonymous(
    api_server: ApiServer, tmp_path: Path
) -> None:
    entry = plugin(tmp_path, credential(token="x"), code=3) | {"installHint": "install the plugin first"}
    with pytest.raises(UsageError, match=r"'\./plugin' gave no credentials: install the plugin first"):
        find_access(str(write(tmp_path / "config", api_server, {"exec": entry})))


def test_somebody_else_is_acted_as_only_where_the_kubeconfig_says_so(
    api_server: ApiServer, tmp_path: Path
) -> None:
    user = {
        "token": api_server.token,
        "as": "dave",
        "as-uid": "42",
        "as-groups": ["auditors", "builders"],
        "as-user-extra": {"Reason/Why": ["a test"]},
    }
    found = who(str(write(tmp_path / "config", api_server, user)))
    assert (found["username"], found["uid"]) == ("dave", "42")
    assert {"auditors", "builders"} <= set(found["groups"])
    assert found["extra"] == {"reason/why": ["a test"]}


def test_several_files_are_merged_and_the_first_one_counts(
    api_server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = write(tmp_path / "first", api_server, {"token": api_server.token, "as": "one"})
    second = write(tmp_path / "second", api_server, {"token": api_server.token, "as": "two"}, current="other")
    content = json.loads(second.read_text())
    content["contexts"].append({"name": "other", "context": {"cluster": "here", "user": "three"}})
    content["users"].append({"name": "three", "user": {"token": api_server.token, "as": "three"}})
    second.write_text(json.dumps(content))
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join([str(first), str(tmp_path / "missing"), str(second)]))
    assert who("")["username"] == "one"
    assert who("", "other")["username"] == "three"
    assert who(str(second))["username"] == "three"
    with pytest.raises(UsageError, match="nowhere"):
        find_access("", "nowhere")


def test_the_kubeconfig_of_the_home_folder_is_found(
    api_server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / ".kube" / "config", api_server, {"token": api_server.token})
    assert who("")["username"] == "admin"


def test_a_proxy_and_another_server_name_are_honoured(api_server: ApiServer, tmp_path: Path) -> None:
    with connect_proxy() as proxy:
        user = {"token": api_server.token}
        path = write(tmp_path / "config", api_server, user, **{"proxy-url": proxy.url})
        assert who(str(path))["username"] == "admin"
        assert set(proxy.asked) == {api_server.url.removeprefix("https://")}
    named = write(tmp_path / "named", api_server, user, **{"tls-server-name": "kubernetes.default.svc"})
    assert who(str(named))["username"] == "admin"
    wrong = write(tmp_path / "wrong", api_server, user, **{"tls-server-name": "somewhere.example.com"})
    with pytest.raises(Exception, match=r"somewhere\.example\.com|Hostname mismatch"):
        who(str(wrong))


@pytest.mark.parametrize(
    ("user", "cluster", "words"),
    [
        ({"auth-provider": {"name": "gcp"}}, {}, "auth-provider is not honoured"),
        ({"token": "x", "as-groups": ["a"]}, {}, "as-groups without as"),
        ({"client-certificate-data": "AAAA"}, {}, "client-certificate-data without client-key"),
        ({"username": "a"}, {}, "username and password go together"),
        ({"exec": {"apiVersion": "v1", "command": "x", "shell": True}}, {}, "shell is not honoured"),
        ({"token": "x"}, {"proxy-url": "socks5://127.0.0.1:1"}, "only proxies by http"),
        ({"token": "x"}, {"insecure-skip-tls-verify": True}, "exclude each other"),
        ({"token": "x"}, {"server": "127.0.0.1"}, "expected a URL"),
        ({"token": "x"}, {"fips": "yes"}, "fips is not honoured"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(
    api_server: ApiServer, tmp_path: Path, user: Json, cluster: Json, words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        find_access(str(write(tmp_path / "config", api_server, user, **cluster)))
    assert api_server.token not in str(caught.value)


def test_the_controller_refuses_what_its_watch_would_leave_out(
    api_server: ApiServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for user, cluster, name in (
        ({"token": api_server.token, "as": "dave"}, {}, "as"),
        ({"token": api_server.token}, {"tls-server-name": "kubernetes.default.svc"}, "tls-server-name"),
    ):
        path = write(tmp_path / "config", api_server, user, **cluster)
        assert chains(["controller", "--kubeconfig", str(path)]) == 2
        assert f"{name} is not honoured by the controller" in capsys.readouterr().err


def test_public_keys_are_read_from_a_secret_or_a_config_map(
    api_server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(write(tmp_path / "config", api_server, {"token": api_server.token})))
    namespace = api_server.create_namespace("public-keys")
    pem = public().pem
    api = f"/api/v1/namespaces/{namespace}"
    secret = {
        "metadata": {"name": "cosign"},
        "data": {"cosign.pub": encoded(pem), "cosign.key": encoded(b"private")},
    }
    api_server.request("POST", f"{api}/secrets", secret)
    revoked = ListedKey(public(), status=KeyStatus.REVOKED)
    listed = {"chains.pub": pem.decode(), "keyset.json": write_keyset([revoked]).decode()}
    api_server.request("POST", f"{api}/configmaps", {"metadata": {"name": "keys"}, "data": listed})
    assert read_source(f"k8s://{namespace}/cosign") == (ListedKey(public()),)
    assert read_source(f"k8s://{namespace}/keys") == (revoked,)
    api_server.request("POST", f"{api}/configmaps", {"metadata": {"name": "cosign"}, "data": listed})
    with pytest.raises(UsageError, match="a Secret and a ConfigMap of that name"):
        read_source(f"k8s://{namespace}/cosign")
    with pytest.raises(UsageError, match="there is no such Secret or ConfigMap"):
        read_source(f"k8s://{namespace}/missing")
    api_server.request("POST", f"{api}/configmaps", {"metadata": {"name": "empty"}, "data": {"a": "b"}})
    with pytest.raises(UsageError, match="it has no public key"):
        read_source(f"k8s://{namespace}/empty")
