"""A configuration or key that changes, or cannot be used, while runs are in work."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from chains.cluster.errors import ObjectGone
from chains.controller import reload as module
from chains.controller.flow import FlowInForce, build_flow
from chains.controller.reload import Reloader
from signers.keys.keyfile import generate_key
from storage.redacted_url import without_credentials

Json = Any


class OneConfigMap:
    """An API server that has chains-config and notes the Events."""

    gone = False

    def __init__(self, **data: str) -> None:
        self.data, self.events = data, list[Json]()

    async def get(self, path: str) -> Json:
        if self.gone:
            raise ObjectGone("404")
        return {"data": self.data, "metadata": {"uid": "u"}}

    async def create(self, path: str, body: Json) -> None:
        self.events.append(body)


def reloader(cluster: OneConfigMap, folder: Path) -> Reloader:
    return Reloader(cluster, "tekton-chains", folder)  # type: ignore[arg-type]


def new_key(folder: Path, name: str) -> None:
    """Put a key where Kubernetes does: a link to a folder that is swapped as a whole."""
    (folder / name).mkdir()
    (folder / name / "x509.pem").write_bytes(generate_key())
    (folder / name / "x509.pem").chmod(0o600)
    (folder / "..new").symlink_to(name)
    (folder / "..new").replace(folder / "..data")
    if not (folder / "x509.pem").is_symlink():
        (folder / "x509.pem").symlink_to("..data/x509.pem")


def test_a_run_in_work_ends_with_the_key_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut short, what is stored with one key would be stored again with the next."""
    closed: list[FlowInForce] = []
    close = FlowInForce.close

    async def noted(flow: FlowInForce) -> None:
        closed.append(flow)
        await close(flow)

    monkeypatch.setattr(FlowInForce, "close", noted)
    new_key(tmp_path, "..2026_1")

    async def work() -> None:
        found = reloader(OneConfigMap(), tmp_path)
        await found.look()
        first = found.flow
        with first.uses.one():
            new_key(tmp_path, "..2026_2")
            await found.look()
            assert found.flow is not first
            await asyncio.sleep(0)
            assert closed == []
        (task,) = found._retiring
        await task
        assert closed == [first]
        await found.close()
        assert closed == [first, found.flow]

    asyncio.run(work())


def test_what_nobody_thought_of_is_refused_without_its_words_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, build = OneConfigMap(), build_flow
    new_key(tmp_path, "..2026_1")

    def breaks(*_: Any) -> FlowInForce:
        raise ValueError("cannot parse hunter2")

    async def work() -> None:
        found = reloader(cluster, tmp_path)
        assert found.trouble == "no configuration was read yet"
        await found.look()
        good = found.flow
        cluster.data = {"builder.id": "https://example.com/b"}
        monkeypatch.setattr(module, "build_flow", breaks)
        await found.look()
        await found.look()
        assert found.flow is good
        assert found.trouble == "unexpected ValueError; please report it"
        assert [event["reason"] for event in cluster.events] == ["ConfigRefused"]
        monkeypatch.setattr(module, "build_flow", build)
        monkeypatch.setattr(found, "_open_again", 0)
        await found.look()
        assert found.trouble == ""
        await found.close()

    asyncio.run(work())


def test_a_configuration_that_is_deleted_stays_in_force_and_is_missed(tmp_path: Path) -> None:
    """Its defaults would store elsewhere and in another format, and nobody asked for that."""
    cluster = OneConfigMap(**{"artifacts.taskrun.format": "slsa/v2alpha4"})
    new_key(tmp_path, "..2026_1")

    async def work() -> None:
        found = reloader(cluster, tmp_path)
        await found.look()
        good, cluster.gone = found.flow, True
        await found.look()
        await found.look()
        assert found.flow is good
        assert found.trouble == "chains-config is gone: create it again"
        assert [event["reason"] for event in cluster.events] == ["ConfigRefused"]
        cluster.gone = False
        await found.look()
        assert found.trouble == ""
        await found.close()

    asyncio.run(work())


def test_a_key_folder_that_is_swapped_at_the_moment_is_looked_at_again(tmp_path: Path) -> None:
    new_key(tmp_path, "..2026_1")
    found = reloader(OneConfigMap(), tmp_path)
    assert [name for name, _, _ in found._key_state([])] == ["x509.pem"]
    (tmp_path / "..data").unlink()
    assert found._key_state([]) == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mongo://u:hunter2@db/c", "mongo://db/c"),
        ("https://u:hunt@er2@db/c failed", "https://db/c failed"),
        ("'https://hunter2@r.example/x'", "'https://r.example/x'"),
        ("oci://r.example/x@sha256:ab", "oci://r.example/x@sha256:ab"),
    ],
)
def test_users_and_passwords_of_urls_are_not_told(text: str, told: str) -> None:
    assert without_credentials(text) == told
