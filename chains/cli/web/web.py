"""The command ``web``: the evidence browser."""

from __future__ import annotations

from pathlib import Path

from chains.assembly.stores import store_options
from chains.assembly.workspace import load_settings
from chains.cli.arguments import FILE, FOLDER, Option, Options, config
from chains.cli.cluster import whole_number
from chains.cli.commands import Command
from chains.index.database import DEFAULT, place_of
from chains.terminal import say

_HIGHEST_PORT = 65_535
_MOST_PROCESSES = 64


def _web(options: Options) -> int:
    """Serve the pages until the process is stopped."""
    from aiohttp import web as server  # noqa: PLC0415 - slow to import

    from chains.controller.log_lines import log_as_json  # noqa: PLC0415
    from chains.web.application import application  # noqa: PLC0415 - its packages are an extra
    from chains.web.process import run  # noqa: PLC0415
    from chains.web.settings import WebSettings  # noqa: PLC0415
    from chains.web.source import Source  # noqa: PLC0415

    settings = load_settings(options.config)
    found = WebSettings(
        index=place_of(options.index),
        host=options.host,
        port=whole_number(options.port, "--port", 1, _HIGHEST_PORT),
        processes=whole_number(options.processes, "--processes", 1, _MOST_PROCESSES),
        audits=tuple(map(Path, options.audit_result)),
        reports=tuple(map(Path, options.reports)),
        policies=tuple(map(Path, options.policy)),
        ledger=Path(options.ledger) if options.ledger else None,
        store_options=store_options(settings.config),
    )

    def build(source: Source) -> server.Application:
        return application(source, found)

    log_as_json()
    say(f"evidence browser: http://{found.host}:{found.port}/")
    return run(found, build)


web = Command(
    "web",
    _web,
    [
        Option(
            "--index",
            f"the index: a file, or postgresql://… (default: {DEFAULT})",
            default=DEFAULT,
            metavar="FILE|URL",
            type=FILE,
        ),
        Option(
            "--host",
            "the address to listen on; others than this machine's own need access control",
            default="127.0.0.1",
            metavar="ADDRESS",
            twin="CHAINS_WEB_HOST",
        ),
        Option("--port", "the port to listen on", default="8088", metavar="PORT", twin="CHAINS_WEB_PORT"),
        Option(
            "--processes",
            "the number of processes that answer on the port",
            default="1",
            metavar="N",
            twin="CHAINS_WEB_PROCESSES",
        ),
        Option(
            "--audit-result",
            "a result of chains audit --output json, or a folder of them; may be repeated",
            repeatable=True,
            metavar="PATH",
            type=FILE,
        ),
        Option(
            "--reports",
            "a folder of reports that chains report wrote; may be repeated",
            repeatable=True,
            metavar="FOLDER",
            type=FOLDER,
        ),
        Option(
            "--policy",
            "a policy file, or a folder of them, to show; may be repeated",
            repeatable=True,
            metavar="PATH",
            type=FILE,
        ),
        Option("--ledger", "the folder of a ledger to show", metavar="FOLDER", type=FOLDER),
        config("a chains-config, for its store settings"),
    ],
)
