"""Writes the description of the API to standard output: ``python -m chains.web.api > docs/openapi.json``."""

from __future__ import annotations

import sys

from chains.web.api.openapi import document, written
from chains.web.api.routes import routes
from chains.web.api.verify_now import Trusting, VerifyNow

if __name__ == "__main__":
    sys.stdout.buffer.write(written(document(routes(VerifyNow(Trusting()).handler))))
