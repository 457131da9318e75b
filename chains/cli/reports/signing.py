"""Signs a report with the signers of the configuration, and stores the statement beside the evidence."""

from __future__ import annotations

from collections.abc import Sequence

from chains.assembly.signers import check_signers
from chains.assembly.stores import open_url, store_options
from chains.assembly.workspace import Settings, open_sealers_for
from chains.cli.arguments import FILE, Option, Options, password_file
from chains.errors import ChainsError, UsageError
from chains.loop import carry_out
from chains.report.document.file import Document
from chains.report.folder import Written
from chains.report.forms.table import File
from chains.report.names import bundle_name
from chains.report.statement import record_of, statement_of
from chains.terminal import say
from signers.errors import SignerError
from signers.sealer import Sealer
from storage.errors import StoreError
from storage.record import IN_TOTO_PAYLOAD_TYPE, Record


def signing_options() -> list[Option]:
    """Return the options that say how a report is signed."""
    return [
        Option(
            "--sign",
            "sign the report with the signers of --config (else .chains/signing.key), and store the "
            "statement in every --store",
            twin="CHAINS_REPORT_SIGN",
            flag=True,
        ),
        Option(
            "--signing-key",
            "sign the report with this key in place of the configured signers",
            metavar="REF",
            twin="CHAINS_REPORT_SIGNING_KEY",
            type=FILE,
        ),
        password_file(),
    ]


class Signing:
    """The open signers of a report. They are opened before the work, so that a wrong key is told at once."""

    def __init__(self, options: Options, settings: Settings) -> None:
        if options.password_file and not options.signing_key:
            raise UsageError("--password-file belongs to --signing-key REF")
        check_signers(settings.config, key_given=bool(options.signing_key))
        found = open_sealers_for(settings.config, options.signing_key, options.password_file, tell=say)
        self._sealers: list[Sealer] = list({one.identity: one for one in found.values()}.values())
        if not self._sealers:
            raise UsageError("--sign: the configuration names no signer")
        self.records: list[Record] = []

    @classmethod
    def wanted(cls, options: Options, settings: Settings) -> Signing | None:
        """Return the signers that the options ask for, None if the report is not signed."""
        return cls(options, settings) if options.sign or options.signing_key else None

    def sign(self, document: Document, files: Sequence[Written]) -> list[File]:
        """Return a bundle for each signer, and keep the records for the stores."""
        statement = statement_of(document.head, files)
        payload = statement.to_bytes()
        made = []
        for number, sealer in enumerate(self._sealers, 1):
            try:
                sealed = sealer.seal_now(payload, IN_TOTO_PAYLOAD_TYPE)
            except SignerError as error:
                raise ChainsError(f"the report cannot be signed: {error}") from error
            self.records.append(record_of(document.head, statement, payload, sealed))
            made.append(File(bundle_name(number), [sealed.bundle]))
        return made

    def close(self) -> None:
        """Release the signers."""
        for sealer in self._sealers:
            sealer.close()

    def store(self, urls: Sequence[str], settings: Settings) -> None:
        """Put the records into every store.

        Raises :class:`ChainsError` that names each store which did not take one.
        """
        problems = carry_out(_store(self.records, urls, settings))
        if problems:
            told = "; ".join(problems)
            raise ChainsError(f"the report is written and signed, but not in every store: {told}")


async def _store(records: Sequence[Record], urls: Sequence[str], settings: Settings) -> list[str]:
    problems = []
    found = store_options(settings.config)
    for url in dict.fromkeys(urls):
        store = open_url(url, found)
        try:
            for record in records:
                stored = await store.put(record)
                problems += [f"{store.url}: {one.reason}" for one in stored.failures]
                for receipt in stored.receipts:
                    say(f"stored the signed statement in {receipt.location}")
            await store.flush()
        except StoreError as error:
            problems.append(f"{store.url}: {error}")
        finally:
            await store.close()
    return problems
