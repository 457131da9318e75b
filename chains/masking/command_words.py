"""Secrets in command lines: the values of options that take one, by option and by program.

``-p`` is a password for ``docker login`` and ``mysql``, a port for ``ssh`` and a folder for ``mkdir``. A
known program decides. For an unknown program the value is taken for a secret unless it cannot be one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from chains.masking.forms import Span, holds_nothing, may_name, names_secret

_WORD = re.compile(r"""\\\n|(?:\\.|[^\s"';|&()`\\]|\\|"(?:[^"\\]|\\[\s\S])*"?|'[^']*'?)+|[;|&()`\n]""")
_ENDS = frozenset(";|&()`\n")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=")
_WRAPPERS = frozenset(
    ("sudo", "env", "exec", "time", "nohup", "nice", "command", "then", "do", "else", "if", "while", "!")
)
_ECHOES = frozenset(("echo", "printf"))
"""Programs that write a password into a pipe, for another program with ``--password-stdin``."""
_LOGINS = frozenset(("login", "registry", "auth"))
_GLUED_P = frozenset(
    (
        "mysql", "mysqldump", "mysqladmin", "mysqlimport", "mysqlcheck", "mariadb", "mariadb-dump",
        "mariadb-admin", "sshpass", "7z", "7za", "7zr", "7zz",
    )
)  # fmt: skip
"""Programs whose ``-p`` has its value in the same word."""
_PASSWORD_P = _GLUED_P | frozenset(
    (
        "mongo", "mongosh", "mongodump", "mongorestore", "mongoexport", "mongoimport", "cqlsh",
        "influx", "rabbitmqadmin",
    )
)  # fmt: skip
_OTHER_P = frozenset(
    (
        "mkdir", "install", "cp", "mv", "rsync", "tar", "ssh", "scp", "sftp", "ssh-keyscan",
        "ssh-copy-id", "cargo", "rustc", "pytest", "py.test", "python", "python3", "docker",
        "podman", "nerdctl", "buildah", "docker-compose", "kubectl", "oc", "npx", "npm", "pnpm",
        "yarn", "perl", "git", "gradle", "gradlew", "make", "ninja", "patch", "ps", "pgrep", "grep",
        "go", "dotnet", "msbuild", "bash", "sh", "dash", "zsh", "read", "set", "declare", "export",
        "trap", "chmod", "touch", "test", "xargs", "less", "date", "lsof", "netstat", "ss", "nc",
        "nmap", "psql", "pg_dump", "pg_restore", "pg_isready", "redis-cli", "tox", "nox", "mvn",
        "terraform", "cmake", "ctest", "protoc", "gcc", "cc", "iptables", "strace", "top", "kill",
        "tee",
    )
)  # fmt: skip
_OF_PROGRAMS = {
    "-P": frozenset(("unzip", "zip", "zipcloak", "sqlcmd", "bcp", "smbclient")),
    "-a": frozenset(("redis-cli", "valkey-cli")),
    "-w": frozenset(("ldapsearch", "ldapadd", "ldapmodify", "ldapdelete", "ldapwhoami", "ldappasswd")),
    "-k": frozenset(("openssl",)),
    "-K": frozenset(("openssl",)),
}
"""Options of one letter that take a password, and of which programs."""
_PAIRS = frozenset(("-u", "--user", "-U", "--proxy-user", "-E", "--cert", "-a", "--auth"))
"""Options that may take ``name:password``."""
_OTHER_USERS = frozenset(
    (
        "docker", "podman", "nerdctl", "buildah", "kubectl", "oc", "chown", "chroot", "setpriv",
        "gosu", "su-exec", "su", "id", "install", "rsync", "git", "date", "sort", "python",
        "python3", "set", "bash", "sh",
    )
)  # fmt: skip
_ORDINARY = re.compile(
    r"-.*|[./~].*|\d{1,5}(?:[-:/,]\S*)?|[\d.]+:\d+(?::\d+)?(?:/\w+)?|[\w-]+/.*|no:\w+|[{\[].*|\$\{?\w+\}?"
)
"""Values of an unknown program's ``-p`` that are no secret: an option, path, port, JSON or variable."""
_MOUNTED = re.compile(r"(?:id|type|src|source|env|target)=.*")
"""The value of BuildKit's ``--secret``, which only names the place of a secret."""
_OPTION = re.compile(r"(?:^|\s)-(?:[pPuUawkKE]|-(?:user|proxy-user|cert)\b)")
"""Options that may take a secret although their names do not say so."""
_LINES = re.compile(r"(?<!\\)\n")
_UNKNOWN = "?"
"""The program of a container that has only arguments."""
_SETS = frozenset(("set", "config", "add", "put", "--add", "--set"))
_SETTING = "set NAME"
"""Stands for an option when a setting was named, because its value comes next."""


def words_of(text: str) -> Iterator[tuple[str, int]]:
    """Yield the words of a shell's text with their positions, and the separators of its commands."""
    for match in _WORD.finditer(text):
        if match[0] != "\\\n":  # a backslash at the end of a line only continues it
            yield match[0], match.start()


@dataclass(slots=True)
class _Command:
    """One simple command, as far as it was read."""

    program: str = ""
    login: bool = False
    wrapped: bool = False
    """Whether another program, such as ``sudo``, starts it."""
    option: str = ""
    """The option whose value comes next."""
    echoed: int = -1
    """The number of the word that ``echo`` writes to the next program."""

    def begins(self, word: str) -> bool:
        """Return whether a word comes before the arguments. The program is taken from such a word."""
        self.login = self.login or word in _LOGINS
        if self.program or _ASSIGNMENT.match(word):
            return False
        if word in _WRAPPERS:
            self.wrapped = True
            return True
        if word[:1] != "-":
            self.program = word.rpartition("/")[2].strip("\"'")
            return True
        self.program = "" if self.wrapped else _UNKNOWN
        return False


def secret_words(words: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the words of command lines that are secrets: their number, and where in the word the secret
    begins."""
    command = _Command()
    for number, word in enumerate(words):
        if word in _ENDS:
            is_piped = word == "|" and command.program in _ECHOES
            command = _Command(echoed=number - 1 if is_piped else -1)
        elif not command.begins(word):
            before = words[number - 1] if number else ""
            found = _secret_of(command, number, word, before)
            if found is not None and not (found[0] != number and holds_nothing("", words[found[0]])):
                yield found
    if command.program == "htpasswd" and any(word[:1] == "-" and "b" in word for word in words):
        yield len(words) - 1, 0


def _secret_of(command: _Command, number: int, word: str, before: str) -> tuple[int, int] | None:
    """Return the secret that a word is or contains, and note whether the next word is one."""
    option, command.option = command.option, ""
    if option and (begin := _begin(command, option, word)) is not None:
        return number, begin
    if command.echoed >= 0 and word.endswith("-stdin") and names_secret(word.removesuffix("-stdin")):
        return command.echoed, 0
    if (begin := _glued(command.program, word)) is not None:
        return number, begin
    if _takes_value(command.program, word):
        command.option = word
    elif before in _SETS and _is_setting(word):
        command.option = _SETTING
    return None


def _is_setting(word: str) -> bool:
    return re.fullmatch(r"[\w./:-]+", word) is not None and names_secret(word.rpartition(":")[2])


def _takes_value(program: str, word: str) -> bool:
    """Return whether the next word may be a secret."""
    if word in _PAIRS or word == "-p" or program in _OF_PROGRAMS.get(word, ()):
        return True
    return word[:1] == "-" and "=" not in word and ":" not in word and names_secret(word)


def _begin(command: _Command, option: str, word: str) -> int | None:
    """Return where the secret begins in the value of an option, None if there is none."""
    bare, program = word.strip("\"'"), command.program
    if option == "-p":
        return _of_p(program, command.login, bare)
    if option == _SETTING:
        return None if _ASSIGNMENT.match(bare) or holds_nothing(option, word) else 0
    if program in _OF_PROGRAMS.get(option, ()):
        return 0
    if option in _PAIRS:
        return _of_pair(program, option, word)
    if (option.endswith("secret") and _MOUNTED.match(bare)) or holds_nothing(option, word):
        return None
    return 0


def _of_p(program: str, login: bool, value: str) -> int | None:
    if login or program in _PASSWORD_P:
        return None if holds_nothing("-p", value) else 0
    return None if program in _OTHER_P or _ORDINARY.fullmatch(value) else 0


def _of_pair(program: str, option: str, word: str) -> int | None:
    """Return where the password begins in ``name:password`` or ``name%password``."""
    name, colon, password = word.partition(":")
    if option == "-U" and program in {"smbclient", "net", "rpcclient"}:
        name, colon, password = word.partition("%")
    is_owner = name.strip("\"'").isdecimal() and password.strip("\"'").isdecimal()
    if not colon or not password or is_owner or password.startswith("//"):
        return None
    if program in _OTHER_USERS or (option in {"-a", "-E", "--cert"} and _ORDINARY.fullmatch(name)):
        return None
    return None if holds_nothing(option, password) else len(name) + 1


def _glued(program: str, word: str) -> int | None:
    """Return where the secret begins in an option with its value in the same word."""
    if word.startswith("-p") and len(word) > len("-p") and program in _GLUED_P and word[2:3] != "=":
        return len("-p")
    if program == "curl" and word.startswith(("-u", "-U")) and ":" in word:
        return word.index(":") + 1
    option, equals, value = word.partition("=")
    if equals and option in _PAIRS:
        begin = _of_pair(program, option, value)
        return None if begin is None else len(option) + 1 + begin
    if equals and option[:1] == "-" and names_secret(option) and not holds_nothing(option, value):
        return len(option) + 1
    return None


def spans_in_text(text: str) -> Iterator[Span]:
    """Yield where a text that is a shell's command line has secrets behind options."""
    has_names = may_name(text)
    if not has_names and _OPTION.search(text) is None:
        return
    start = 0
    for line in _LINES.split(text):
        if has_names or _OPTION.search(line):
            found = list(words_of(line))
            for number, begin in secret_words([word for word, _ in found]):
                word, at = found[number]
                yield start + at + begin, start + at + len(word)
        start += len(line) + 1
