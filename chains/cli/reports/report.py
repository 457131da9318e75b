"""The command ``report``: a report of a period, as one document and in further forms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from chains.assembly.workspace import LAYOUT, load_settings
from chains.cli.arguments import FOLDER, Option, Options
from chains.cli.commands import WorkingGroup
from chains.cli.reports.gathering import at_of, gathered, gathering_options
from chains.cli.reports.signing import Signing, signing_options
from chains.errors import UsageError
from chains.extras import install_hint
from chains.report.folder import refuse_used, write_folder
from chains.report.forms.table import FORMS, Form, open_form
from chains.terminal import say, write_line
from chains.text import count

DEFAULT_FORMS = ("html", "markdown", "csv", "pdf")


def _report(options: Options) -> int:
    """Audit a period, and write what was found as a report."""
    if not options.out:
        raise UsageError("no folder for the report: pass --out FOLDER")
    out = Path(options.out)
    refuse_used(out)
    names = _forms(options.formats)
    forms = [_open(name) for name in names]
    settings = load_settings(options.config)
    at = at_of(options.at)
    signing = Signing.wanted(options, settings)
    try:
        with gathered(options, settings, at) as document:
            files = write_folder(out, document, forms, signing.sign if signing else None)
            head = document.head
        for line in head["summary"]:
            write_line(line)
        write_line(f"Wrote {count(len(files), 'file')} to {out}.")
        if signing is None:
            say("the report is not signed: pass --sign or --signing-key")
        else:
            signing.store(options.store or [LAYOUT], settings)
    finally:
        if signing is not None:
            signing.close()
    return head["exitCode"]


def _forms(text: str) -> Sequence[str]:
    names = tuple(dict.fromkeys(text.replace(",", " ").split()))
    for name in names:
        if name not in FORMS and name != "json":
            raise UsageError(f"--formats: {name!r} is none of json, {', '.join(FORMS)}")
    return [name for name in names if name != "json"]


def _open(name: str) -> Form:
    try:
        return open_form(name)
    except ModuleNotFoundError as error:
        hint = install_hint("report")
        raise UsageError(f"--formats {name}: the module {error.name} is missing: {hint}") from error


report = WorkingGroup(
    "report",
    _report,
    lazy={
        "check": (
            "chains.cli.reports.check:check",
            "compute every count of a report again, and name each difference",
        ),
        "controls": (
            "chains.cli.reports.controls:controls",
            "list controls and facts, or tell everything wrong with control maps",
        ),
    },
    parameters=[
        *gathering_options(),
        *signing_options(),
        Option(
            "--at",
            "the report time, at which everything is judged (default: SOURCE_DATE_EPOCH, else now)",
            metavar="TIME",
            twin="CHAINS_REPORT_AT",
        ),
        Option(
            "--formats",
            f"what to write beside report.json: json (nothing), {', '.join(FORMS)}; several with commas "
            f"(default: {','.join(DEFAULT_FORMS)})",
            default=",".join(DEFAULT_FORMS),
            metavar="A,B",
            twin="CHAINS_REPORT_FORMATS",
        ),
        Option(
            "--out",
            "the new folder of the report",
            metavar="FOLDER",
            twin="CHAINS_REPORT_OUT",
            type=FOLDER,
        ),
    ],
)
