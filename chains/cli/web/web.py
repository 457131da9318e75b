"""The command ``web``: the evidence browser."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from chains.assembly.stores import store_options
from chains.assembly.trust import open_listed_keys
from chains.assembly.workspace import load_settings
from chains.cli.arguments import FILE, FOLDER, Option, Options, config
from chains.cli.cluster import whole_number
from chains.cli.commands import Command
from chains.cli.index.trusting import trust_options
from chains.cli.web.verifying import trusting_of
from chains.errors import UsageError
from chains.index.database import DEFAULT, place_of
from chains.terminal import say, write_error_line

if TYPE_CHECKING:
    from chains.web.access.log import AccessLog

_HIGHEST_PORT = 65_535
_MOST_PROCESSES = 64


def _web(options: Options) -> int:
    """Serve the pages until the process is stopped."""
    from aiohttp import web as server  # noqa: PLC0415 - slow to import

    from chains.controller.log_lines import log_as_json  # noqa: PLC0415
    from chains.web.access.cookies import secret_of  # noqa: PLC0415
    from chains.web.access.gate import Gate  # noqa: PLC0415
    from chains.web.access.reading import read_access  # noqa: PLC0415
    from chains.web.api.routes import api  # noqa: PLC0415
    from chains.web.application import application  # noqa: PLC0415 - its packages are an extra
    from chains.web.health import health_application  # noqa: PLC0415
    from chains.web.keys import HEALTH  # noqa: PLC0415
    from chains.web.process import check_address, run  # noqa: PLC0415
    from chains.web.settings import WebSettings  # noqa: PLC0415
    from chains.web.source import Source  # noqa: PLC0415

    settings = load_settings(options.config)
    found = WebSettings(
        index=place_of(options.index),
        host=options.host,
        port=whole_number(options.port, "--port", 1, _HIGHEST_PORT),
        processes=whole_number(options.processes, "--processes", 1, _MOST_PROCESSES),
        health_port=whole_number(options.health_port, "--health-port", 0, _HIGHEST_PORT),
        audits=tuple(map(Path, options.audit_result)),
        reports=tuple(map(Path, options.reports)),
        policies=tuple(map(Path, options.policy)),
        records=tuple(map(Path, options.runs)),
        ledger=Path(options.ledger) if options.ledger else None,
        ledger_keys=open_listed_keys(options.ledger_key, settings.config) if options.ledger_key else (),
        store_options=store_options(settings.config),
    )

    access = read_access(Path(options.access)) if options.access else None
    check_address(found.host, has_access=access is not None)
    if found.health_port and found.processes > 1:
        raise UsageError("--health-port counts one process: start more replicas in place of --processes")
    _access_log(options)  # a log that cannot be written is an error now
    # before there are several processes, which all have to know it
    secret = secret_of(access.session_key_file if access is not None else None)

    trusting = trusting_of(options, found.index, settings)

    def build(source: Source) -> server.Application:
        path = Path(options.access) if options.access else None
        gate = Gate(access, _access_log(options), secret=secret, path=path)
        extend = [api(trusting), gate.extend]
        answering = application(source, found, viewers=gate.viewers(), extend=extend)
        answering[HEALTH] = health_application(source, gate.metrics)
        return answering

    log_as_json()
    say(f"evidence browser: http://{found.host}:{found.port}/")
    return run(found, build, has_access=access is not None)


class _StandardError:
    """Takes lines of the log of accesses."""

    def write(self, line: bytes) -> None:
        """Write one line. Raises :class:`OSError` if nobody can read it."""
        write_error_line(line.decode().removesuffix("\n"))


def _access_log(options: Options) -> AccessLog:
    """Return where each request is written: nowhere only if this machine alone is let in."""
    from chains.web.access.log import AccessLog, File, Nowhere  # noqa: PLC0415

    path = options.access_log or ("-" if options.access else "")
    log = _StandardError() if path == "-" else File(Path(path)) if path else Nowhere()
    return AccessLog(log, lambda: datetime.now(UTC))


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
            "--access",
            "the access file: who may log in, and which namespaces they see",
            metavar="FILE",
            type=FILE,
            twin="CHAINS_WEB_ACCESS",
        ),
        Option(
            "--access-log",
            "add who looked at what to this file, - for standard error (the default with --access)",
            metavar="FILE",
            type=FILE,
            twin="CHAINS_WEB_ACCESS_LOG",
        ),
        Option(
            "--health-port",
            "the port for probes and metrics (default: none)",
            default="0",
            metavar="PORT",
            twin="CHAINS_WEB_HEALTH_PORT",
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
        *trust_options(),
        Option(
            "--ledger-key",
            "a public key that may sign the days of the ledger; may be repeated",
            repeatable=True,
            metavar="PUB",
            type=FILE,
        ),
        Option(
            "--runs",
            "exported runs, or a folder of them: their tasks are drawn; may be repeated",
            repeatable=True,
            metavar="PATH",
            type=FILE,
        ),
        config("a chains-config, for its store settings"),
    ],
)
