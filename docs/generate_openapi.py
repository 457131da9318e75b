"""Write ``docs/openapi.json`` from the paths of the HTTP API: ``python docs/generate_openapi.py``."""

from __future__ import annotations

from pathlib import Path

from chains.web.api.openapi import document, written
from chains.web.api.routes import routes
from chains.web.api.verify_now import Trusting, VerifyNow

if __name__ == "__main__":
    described = document(routes(VerifyNow(Trusting()).handler))
    Path(__file__).with_name("openapi.json").write_bytes(written(described))
