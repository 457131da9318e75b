"""The command ``diff``: what changed between two builds."""

from __future__ import annotations

from chains.assembly.workspace import load_settings
from chains.cli.arguments import FILE, Argument, Option, Options
from chains.cli.commands import Command
from chains.cli.index.inspecting import evidence_options, inspected
from chains.inspection.difference_text import difference_to_text
from chains.inspection.differences import compare
from chains.inspection.page_text import WIDTH
from chains.loop import carry_out
from chains.terminal import terminal_width, write_json, write_text

_TEXT = "an image with digest, a digest, a run file or bundle file, a run's UID or KIND/NAMESPACE/NAME"


def _diff(options: Options) -> int:
    """Print what differs; 0 if nothing does."""
    runs = [options.run, options.run_b or options.run]
    pages = carry_out(inspected([options.a, options.b], options, load_settings(options.config), runs))
    found = compare(*pages)
    if options.output == "json":
        write_json(found.to_json(everything=options.all), indent=True)
    else:
        width = min(terminal_width() or WIDTH, WIDTH)
        write_text(difference_to_text(found, width, everything=options.all))
    return found.exit_code


diff = Command(
    "diff",
    _diff,
    [
        Argument("a", _TEXT, "A", type=FILE),
        Argument("b", "what it is compared with, of the same kinds", "B", type=FILE),
        Option("--all", "list equal values, too", flag=True),
        *evidence_options(),
        Option("--run-b", "the run of B, if it has another name than that of A", metavar="NAMESPACE/NAME"),
    ],
)
