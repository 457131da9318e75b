"""The commands ``access``: check an access file of ``chains web``, and make tokens for its API."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from chains.cli.arguments import FAILURE, FILE, OK, Argument, Option, Options
from chains.cli.commands import Command, Group
from chains.errors import UsageError
from chains.terminal import say, write_line
from chains.text import count, plain, rfc3339


def _check(options: Options) -> int:
    """Report all problems of an access file. Returns 1 if one of them is an error."""
    from chains.web.access.reading import check_access  # noqa: PLC0415 - its packages are an extra

    _, problems = check_access(Path(options.file))
    errors = sum(one.severity == "error" for one in problems)
    for one in problems:
        write_line(plain(f"{one.severity}: {one}".replace(": : ", ": ")))
    write_line(f"{options.file}: {count(errors, 'error')}, {count(len(problems) - errors, 'warning')}")
    return FAILURE if errors else OK


def _token(options: Options) -> int:
    """Print a fresh token, and what the access file has to say about it."""
    from chains.web.access.bearer import new_token  # noqa: PLC0415 - its packages are an extra

    try:
        until = datetime.fromisoformat(options.until)
    except ValueError:
        raise UsageError(
            f"--until {options.until[:40]!r}: expected a day or a time, such as 2027-01-31"
        ) from None
    until = (until if until.tzinfo else until.replace(tzinfo=UTC)).astimezone(UTC)
    if until <= datetime.now(UTC):
        raise UsageError(f"--until {options.until[:40]}: it has passed")
    if bool(options.namespace) is options.all_namespaces:
        raise UsageError("pass --namespace NAME for each namespace, or --all-namespaces")
    token, digest = new_token()
    say("the token, which is shown once:")
    write_line(token)
    seen = '"*"' if options.all_namespaces else f"[{', '.join(options.namespace)}]"
    say(
        "its entry under tokens: of the access file:",
        f"  - {{name: {options.name}, sha256: {digest}, expires: {rfc3339(until)}, namespaces: {seen}}}",
    )
    return OK


access = Group(
    "access",
    [
        Command(
            "check",
            _check,
            [Argument("file", "the access file of chains web", "FILE", type=FILE)],
            text="report all problems of an access file",
        ),
        Command(
            "token",
            _token,
            [
                Argument("name", "whose token it is, as the access log tells it", "NAME"),
                Option("--until", "the day or time at which it ends", metavar="TIME"),
                Option(
                    "--namespace",
                    "a namespace that it shows; may be repeated",
                    repeatable=True,
                    metavar="NAME",
                ),
                Option("--all-namespaces", "it shows everything", flag=True),
            ],
            text="make a token for the API, and print its entry for the access file",
        ),
    ],
)
