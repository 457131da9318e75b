"""All files beside the index, each read when a page needs it and again when it changes."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from chains.audit.ledger.walk import Trusted
from chains.web.files.audits import Audits, read_audits
from chains.web.files.ledger import Ledger, read
from chains.web.files.policies import ShownPolicies, read_policies
from chains.web.files.records import Records, read_records
from chains.web.files.reports import Reports, read_reports
from chains.web.files.watched import Watched
from chains.web.settings import WebSettings


class Files:
    """What the options of ``chains web`` name beside the index."""

    def __init__(self, settings: WebSettings) -> None:
        folder = settings.ledger
        self.audits: Watched[Audits] = Watched(settings.audits, lambda: read_audits(settings.audits))
        self.reports: Watched[Reports] = Watched(settings.reports, lambda: read_reports(settings.reports))
        self.records: Watched[Records] = Watched(settings.records, lambda: read_records(settings.records))
        self.policies: Watched[ShownPolicies] = Watched(
            settings.policies, lambda: read_policies(settings.policies)
        )
        self.ledger: Watched[Ledger] = Watched(
            () if folder is None else (folder,),
            lambda: read(folder or Path(), Trusted(settings.ledger_keys, datetime.now(UTC))),
        )

    async def state(self) -> str:
        """Return a text that changes when any of the files does."""
        told = [
            await one.state()
            for one in (self.audits, self.reports, self.records, self.policies, self.ledger)
            if one.is_given
        ]
        return hashlib.sha256("\n".join(told).encode()).hexdigest() if told else ""
