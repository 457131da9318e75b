"""A login in a real browser over TLS, against an issuer on another site: cookies, redirects, logout."""

from __future__ import annotations

import asyncio
import os
import ssl
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import async_playwright

from chains.web.access.gate import Gate
from chains.web.access.log import AccessLog
from chains.web.access.reading import read_access
from chains.web.application import application
from chains.web.settings import WebSettings
from chains.web.source import Source
from tests.testbed.certificates import make_certificates
from tests.testbed.login_issuer import CLIENT, SECRET, LoginIssuer, login_issuer
from tests.testbed.ports import free_ports
from tests.unit.chains.index.query.index import Row, Run, sqlite_index
from tests.unit.chains.web.access.gated import Lines

pytestmark = pytest.mark.server
CHROMIUM = Path("/usr/bin/chromium")


def test_a_person_logs_in_reads_and_logs_out(tmp_path: Path) -> None:
    if not CHROMIUM.exists() and not os.environ.get("CI"):
        pytest.skip("no Chromium here")
    with login_issuer() as issuer:
        asyncio.run(_looked(tmp_path, issuer))


async def _looked(folder: Path, issuer: LoginIssuer) -> None:
    (port,) = free_ports(1)
    url = f"https://localhost:{port}"
    (folder / "access.yaml").write_text(
        f"""
oidc: {{issuer: "{issuer.url}", clientId: {CLIENT}, url: "{url}", clientSecretFile: secret}}
grants: [{{groups: [shop-devs], namespaces: [shop]}}]
"""
    )
    (folder / "secret").write_text(SECRET)
    rows = [
        Row(
            f"{number:02x}" * 32,
            Run(f"00000000-0000-4000-8000-{number:012}", name, f"build-{name}"),
            "x",
            namespace=name,
        )
        for number, name in enumerate(("shop", "secret"), 1)
    ]
    place = sqlite_index(folder / "index.db", rows)
    lines, source = Lines(), Source(place)
    gate = Gate(read_access(folder / "access.yaml"), AccessLog(lines, lambda: datetime.now(UTC)))
    runner = web.AppRunner(
        application(source, WebSettings(place), viewers=gate.viewers(), extend=[gate.extend])
    )
    await runner.setup()
    certificates = make_certificates(folder / "tls", ["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates.cert_file, certificates.key_file)
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        async with async_playwright() as playwright:
            chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            try:
                tab = await chromium.new_context(ignore_https_errors=True)
                page = await tab.new_page()
                # led to the issuer on another site, and back to where it began
                await page.goto(f"{url}/search?q=name%3Abuild-shop")
                assert page.url == f"{url}/search?q=name%3Abuild-shop"
                assert "build-shop" in await page.inner_text("main")
                assert issuer.asked.count("/authorize") == 1
                (cookie,) = await tab.cookies()
                assert cookie["name"] == "__Host-chains"
                assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
                assert await page.evaluate("document.cookie") == ""
                # what others have is not there
                await page.goto(f"{url}/search?q=name%3Abuild-secret")
                assert "nothing" in (await page.inner_text("main")).lower()
                # a page of another site ends nothing: the cookie stays where it is
                await page.goto(f"{issuer.url}/keys")
                await page.set_content(
                    f'<form method="post" action="{url}/auth/logout"><button>x</button></form>'
                )
                async with page.expect_navigation():
                    await page.click("button")
                assert "does not count" in await page.inner_text("body")
                await page.goto(f"{url}/")
                assert issuer.asked.count("/authorize") == 1
                async with page.expect_navigation():
                    await page.click("text=Log out")
                assert "logged out" in await page.inner_text("body")
                assert await tab.cookies() == []
                # who comes back is asked again
                issuer.claims = {"sub": "mallory", "groups": []}
                answer = await page.goto(f"{url}/search")
                assert answer is not None
                assert (answer.status, issuer.asked.count("/authorize")) == (403, 2)
            finally:
                await chromium.close()
    finally:
        await runner.cleanup()
        await source.close()
    seen = [
        (one["path"], one.get("viewer", ""), one["status"])
        for one in lines.entries
        if not one["path"].startswith("/static/")
    ]
    assert ("/auth/callback", "alice", 303) in seen
    assert ("/search", "alice", 200) in seen
    assert ("/auth/logout", "alice", 200) in seen
    assert ("/search", "mallory", 403) in seen
