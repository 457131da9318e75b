"""The command ``inspect``: one page of evidence about an image, a run or a file."""

from __future__ import annotations

from chains.assembly.workspace import load_settings
from chains.cli.arguments import FILE, Argument, Options
from chains.cli.commands import Command
from chains.cli.index.inspecting import evidence_options, inspected
from chains.inspection.page_text import WIDTH, page_to_text
from chains.loop import carry_out
from chains.terminal import terminal_width, write_json, write_text


def _inspect(options: Options) -> int:
    """Print the page; the exit code is that of the verdict."""
    (page,) = carry_out(inspected([options.target], options, load_settings(options.config), [options.run]))
    if options.output == "json":
        write_json(page.to_json(), indent=True)
    else:
        write_text(page_to_text(page, min(terminal_width() or WIDTH, WIDTH)))
    return page.exit_code


inspect = Command(
    "inspect",
    _inspect,
    [
        Argument(
            "target",
            "an image with digest, a digest, a run file or bundle file, a run's UID or KIND/NAMESPACE/NAME",
            "IMAGE|RUN|FILE",
            type=FILE,
        ),
        *evidence_options(),
    ],
)
