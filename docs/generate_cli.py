"""Write ``docs/reference/cli.md`` from the commands themselves: ``python docs/generate_cli.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from chains.cli.main import program
from chains.cli.manual.described import Described, DescribedOption, describe
from chains.cli.manual.topics import EXIT_CODES, VARIABLES

PAGE = Path(__file__).with_name("reference") / "cli.md"
_INTRO = """# Commands

<!-- Written by docs/generate_cli.py from chains/cli/; change it there. -->

Every command of `chains` with its options, for everybody who types or scripts them. `chains help COMMAND` prints the same, and
`chains help stores`, `signers`, `environment` and `exit-codes` what all commands share.

- Results go to standard output, everything else to standard error.
- `--output json` prints one JSON document, also on failure.
- Every option has a twin, an environment variable, which gives the value if the command line does not. An option replaces its
  twin. The twin of a repeatable option is split at white space; that of a flag is `true` or `false`.
"""
_SHELLS = """
## Shell completion

Commands, options, their values and file names are completed in bash 4.4 or newer, zsh and fish:

```sh
chains completion bash > chains.bash            # for ~/.bashrc: source <(chains completion bash)
chains completion zsh > _chains                 # for ~/.zshrc: source <(chains completion zsh)
chains completion fish > chains.fish            # for ~/.config/fish/completions/
```

## Man pages

```sh
chains man share-man                            # writes share-man/man1/ and share-man/man7/
man -M share-man chains-verify
```
"""


def cli_page() -> str:
    """Return the whole page."""
    tree = describe(program)
    parts = [_INTRO, "\n## Exit codes\n\n| Code | Meaning |\n|---|---|\n"]
    parts += [f"| {code} | {meaning} |\n" for code, meaning in EXIT_CODES.items()]
    parts.append(_SHELLS)
    parts.append("\n## All commands\n\n| Command | What it does |\n|---|---|\n")
    commands = [one for one in tree.all() if one is not tree]
    parts += [f"| [`{one.name}`](#{one.name.replace(' ', '-')}) | {_cell(one.text)} |\n" for one in commands]
    for one in commands:
        parts += _command(one)
    parts.append(
        "\n## Other environment variables\n\n"
        "`HTTPS_PROXY`, `NO_PROXY` and `SSL_CERT_FILE` hold as usual.\n\n"
        "| Variable | Meaning |\n|---|---|\n"
    )
    parts += [f"| `{name}` | {_cell(text)} |\n" for name, text in VARIABLES.items()]
    return "".join(parts)


def _command(command: Described) -> Iterator[str]:
    yield f"\n## {command.name}\n\n{_sentence(command.text)}\n\n```text\n{command.usage}\n```\n"
    if command.arguments:
        yield "\n| Argument | Meaning |\n|---|---|\n"
        for argument in command.arguments:
            yield f"| `{_code(argument.usage)}` | {_cell(argument.text)} |\n"
    if command.options:
        yield "\n| Option | Environment | Meaning |\n|---|---|---|\n"
        for option in command.options:
            yield f"| `{_code(_spelled(option))}` | `{option.twin}` | {_cell(option.text)}{_default(option)} |\n"


def _spelled(option: DescribedOption) -> str:
    names = ", ".join(option.names)
    return f"{names} {option.value}" if option.value else names


def _default(option: DescribedOption) -> str:
    return f"; default `{option.default}`" if option.default else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _cell(text: str) -> str:
    """Return text as it is in a cell of a table: signs that Markdown would read are escaped."""
    escaped = " ".join(text.split())
    for sign in "\\`*_<>|[]":
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped


def _code(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(cli_page(), encoding="utf-8")
