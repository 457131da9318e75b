"""A folder with evidence, its index and the browser over it, made once for all tests of pages."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from aiohttp.typedefs import Middleware

from chains.cli.main import run
from chains.index.database import Place, place_of
from chains.web.application import application
from chains.web.settings import WebSettings
from chains.web.source import Source
from chains.web.viewer import VIEWER, Viewer

EXAMPLES = Path(__file__).parents[4] / "examples"
T = TypeVar("T")
Client = TestClient[web.Request, web.Application]


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder, and come back."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def chains(*arguments: str | Path, code: int = 0) -> None:
    """Run a command line that must end with this code."""
    found = run([str(one) for one in arguments])
    assert found == code, f"chains {' '.join(map(str, arguments))}: {found}"


@dataclass
class World:
    """A folder with stores and an index; ``settings`` are those of the browser."""

    folder: Path
    place: Place
    settings: WebSettings
    uids: dict[str, str] = field(default_factory=dict)

    def serve(
        self,
        work: Callable[[Client], Coroutine[Any, Any, T]],
        *,
        viewers: Sequence[Middleware] = (),
        settings: WebSettings | None = None,
    ) -> T:
        """Run ``work`` with a client of the browser."""

        async def serving() -> T:
            used = settings or self.settings
            source = Source(used.index)
            try:
                app = application(source, used, viewers=viewers)
                async with TestClient(TestServer(app)) as client:
                    return await work(client)
            finally:
                await source.close()

        with inside(self.folder):
            return asyncio.run(serving())

    def page(
        self, path: str, status: int = 200, viewer: Viewer | None = None, settings: WebSettings | None = None
    ) -> str:
        """Return the text of a page, which must have this status."""

        async def work(client: Client) -> str:
            async with client.get(path, allow_redirects=False) as response:
                text = await response.text()
                assert response.status == status, f"{path}: {response.status}\n{text[:3000]}"
                return text

        return self.serve(work, viewers=(seen_by(viewer),) if viewer else (), settings=settings)


def seen_by(viewer: Viewer) -> Middleware:
    """Return the middleware by which everybody is this viewer."""

    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> Any:
        request[VIEWER] = viewer
        return await handler(request)

    return middleware


def visible(page: str) -> str:
    """Return the words of a page without markup, blanks folded."""
    body = page[page.index("<main") : page.index("</main>")]
    text = re.sub(r"<[^>]*>", " ", body)
    for entity, char in (("&lt;", "<"), ("&gt;", ">"), ("&#34;", '"'), ("&#39;", "'"), ("&amp;", "&")):
        text = text.replace(entity, char)
    return " ".join(text.split())


def make_world(folder: Path) -> World:
    """Attest the example runs into a layout, one of them by a stranger, and index them."""
    for path in EXAMPLES.glob("*.json"):
        shutil.copy(path, folder / path.name)
    shutil.copy(EXAMPLES / "taskrun-hermetic.yaml", folder / "taskrun-hermetic.yaml")
    with inside(folder):
        chains("attest", "taskrun-image.json", "pipelinerun.json", "taskrun-hermetic.yaml")
        (folder / "stranger").mkdir()
        with inside(folder / "stranger"):
            chains("attest", "../taskrun-failed.json")
        chains(
            "index", "build", "--store", "oci-layout:.chains/layout", "--store",
            "oci-layout:stranger/.chains/layout", "--key", ".chains/signing.pub",
        )  # fmt: skip
    place = place_of(str(folder / ".chains/index.db"))
    world = World(folder, place, WebSettings(place))
    for name in ("taskrun-image.json", "pipelinerun.json", "taskrun-failed.json"):
        told = json.loads((folder / name).read_text())
        own = told["items"][0] if told.get("kind") == "List" else told
        world.uids[name.partition(".")[0]] = own["metadata"]["uid"]
    return world
