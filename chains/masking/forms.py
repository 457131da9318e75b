"""What secrets look like: the forms of issuers' tokens, and the names of variables that hold a secret.

The forms come from the issuers' public documentation. No rules of other projects are copied. A token with a
known form is found anywhere. Any other value is a secret because of its name: ``DB_PASS=…``, ``"password":
"…"``. All patterns are bounded, so the time is linear in the length of a text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from chains.masking.token_forms import ANYWHERE, FORMS
from storage.limits.bounded import remembered

Span = tuple[int, int]
"""The first position of a part of a text, and the position after its end."""
REDACTED = "[redacted]"

_PARTS = re.compile(
    r"\(\?[^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\]]*\]|\{[^}]*\}|\\[a-zA-Z]|[*+?]"
    r"|\\?(?P<char>[^\\])"
)
"""What a pattern consists of: groups, classes, counts, and characters that stand for themselves."""


def _literal(pattern: str) -> str:
    """Return the longest text that every match of a pattern contains. Looking for it first is fast."""
    parts = [""]
    for match in _PARTS.finditer(pattern):
        if match["char"]:
            parts[-1] += match["char"]
        elif match[0] in "*?":
            parts[-1:] = [parts[-1][:-1], ""]
        else:
            parts.append("")
    return max(parts, key=len)


@cache
def _known() -> tuple[tuple[str, str], ...]:
    """Return, for each form of a token, a text that it always contains, and its pattern."""
    forms = (form for issuer in FORMS.values() for form in issuer)
    return (*((_literal(form), f"(?<![A-Za-z0-9]){form}") for form in forms), *ANYWHERE.items())


_compiled = cache(re.compile)
"""There are two hundred patterns, and a command's text has the literals of a few: compiling all of them would
take longer than anything else at the start of a command."""
_LONG = re.compile(r"[\w+=-]{12}|PRIVATE KEY|Q~|fm[12]")
"""Every form contains this many such characters in a row, or one of these words. Other texts need no
further check."""

_WORDS = re.compile(
    r"passw(?:or)?d|passphrase|pwd|(?<![a-z])pw(?![a-z])|secret(?!ar)|token(?!i[sz])|credential|(?<![a-z])creds?(?![a-z])"
    r"|(?<!by)(?<!com)(?<!tres)(?<!sur)(?<!over)pass(?![a-z])"
    r"|(?<![a-z])(?:auth|cookie|dsn)(?![a-z])"
    r"|(?:private|api|access|account|shared|encrypt(?:ion)?|decrypt(?:ion)?|master|deploy|ssh|storage|licen[cs]e"
    r"|client|hmac|signing|subscription|service|session|auth|app(?:lication)?|admin|ingest(?:ion)?|webhook)[-_.]?key"
)
_DESCRIBES = re.compile(
    r"(?<![a-z])(?:file|path|dir|directory|folder|name|url|uri|endpoint|issuer|realm|audience|scopes?|type|kind"
    r"|format|mode|method|version|ref|namespace|mount|prefix|class|provider|enabled|required|ttl|expiry|expires"
    r"|lifetime|length|size|limit|count|stdin|env|id|policy|store|backend|algorithm|alg|mechanism|sock|socket"
    r"|host|port|domain|region|user|username|email)$"
)
"""The ends of names that only describe a secret: ``TOKEN_URL``, ``--password-file``."""
_IDENTIFIES = re.compile(r"(?:secret|client)[-_.]?id$")
"""Vault's AppRole calls half of its credentials ``secret_id``."""
_FOLDERS = frozenset(("pwd", "oldpwd"))
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PAIR = re.compile(
    r"""(?<![\w.-])(?P<name>[\w.-]{1,128}+)"""
    r"""(?P<quote>\\{0,4}["'])?(?:\s{0,4}(?::=|=>|:)\s{0,4}|\s{1,4}==?\s{0,4}|=(?!\s))"""
)
_TIGHT = re.compile(
    r"""(?<![\w.-])(?P<name>[\w.-]{1,128}+)(?P<quote>)(?:=(?=[^\s=])|\\{0,4}["']\s?:\s?(?=\\{0,4}["']))"""
)
"""As :data:`_PAIR`, where prose is about: ``name=value`` and ``"name": "value"`` alone."""
_VALUE = re.compile(
    r"""\\{1,4}(?P<q>["'])(?:(?!\\{1,4}(?P=q))[\s\S])*(?:\\{1,4}(?P=q))?"""
    r"""|"(?:[^"\\]|\\[\s\S])*"?|'[^']*'?|\$\([^()]*\)"""
    r"""|(?:(?![,;&]["']?[\w.-]{1,64}["']?\s?[=:])[^\s"'])+(?:"[^"\s]*"|'[^'\s]*')?"""
)
_NO_SECRET = re.compile(
    r"""["']?(?:true|false|null|none|undefined|\$[A-Z_][A-Z0-9_]*|\$\{[A-Za-z_][\w.-]*\}|\$\([\w.\[\]'"*-]*\)"""
    r"""|\$\((?:cat |<)[^()]*\)|\{\{[^}]*\}\}|\*+"""
    r"""|(?:[\w.-]*/)*[\w.-]+\.(?:pem|key|pub|crt|cert|json|ya?ml|txt|p12|pfx|jks|asc))?["']?,?"""
)
"""Values that are no secret: words, references to variables, names of files."""
_TAG = re.compile(
    r"(?:v\d[\w.-]*|\d+\.\d[\w.-]*|latest|stable|edge|main|master|nightly)(?:@sha\d+:[0-9a-f]+)?"
)
"""The part after the colon in an image reference: ``external-secrets:v0.9.1``."""
_OTHERS = (
    (
        "authorization",
        r"(?i:(?<![\w-])(?:proxy-)?authorization\\{0,4}[\"']?\s{0,4}[:=]\s{0,4}\\{0,4}[\"']?(?:[\w-]+\s+)?)([^\s'\"]{4,})",
    ),
    ("cookie:", r"(?i:(?<![\w-])(?:set-)?cookie:\s{0,4})([^'\"\r\n]+)"),
    *((word, rf"(?i:(?<![\w-]){word}\s{{1,4}})([\w.~+/=-]{{8,}})") for word in ("bearer", "basic", "ssws")),
    ("://", r"://(?!(?:[a-z][a-z_.-]{0,15}|…|\*+)@)([^/\s\"']+)@(?!sha\d+:)"),
    ("tcp(", r"(?<![\w.-])[\w.-]{1,64}:([^\s/@:]+)@tcp\("),
    ("unix(", r"(?<![\w.-])[\w.-]{1,64}:([^\s/@:]+)@unix\("),
    ("sig", r"(?i:[?&](?:sig|signature|x-(?:amz|goog)-signature)=)([\w%+/=-]{8,})"),
    ("code=", r"(?i:[?&]code=)([\w%+/=-]{8,})"),
    ("login ", r"(?i:(?<![\w-])login\s{1,4}\S{1,128}\s{1,4}password\s{1,4})(\S+)"),
    ("password ", r"(?i:(?<![\w-])password\s{1,4})('[^']*'|\"[^\"]*\")"),
    ("identified by", r"(?i:(?<![\w-])identified\s{1,4}by\s{1,4})('[^']*'|\"[^\"]*\")"),
    *(
        (f"{word}>", rf"(?i:<[\w.-]{{0,64}}?{word}>)([^<]+)")
        for word in ("password", "passwd", "secret", "token", "passphrase")
    ),
    ("hooks.slack", r"hooks\.slack(?:-gov)?\.com/((?:services|workflows|triggers)/[\w/+-]{8,})"),
    ("/api/webhooks/", r"/api/webhooks/(\d{5,}/[\w-]{16,})"),  # Discord's
    ("/webhookb2/", r"/webhookb2/([\w@-]{16,120}/IncomingWebhook/[\w/-]{32,})"),  # Microsoft Teams'
    ("_gitlab_session=", r"_gitlab_session=([\w-]{16,})"),
    ("pass:", r"(?<![\w])pass:([^\s'\"]+)"),
)
"""Credentials where a protocol or a language puts them: what the text has in lower case, and the pattern."""


def may_name(text: str) -> bool:
    """Return whether a text has any word that :func:`names_secret` looks for."""
    lower = text.lower()
    return (
        "pass" in lower
        or "token" in lower
        or "secret" in lower
        or "key" in lower
        or "auth" in lower
        or "cred" in lower
        or "pw" in lower
        or "cookie" in lower
        or "dsn" in lower
    )


@remembered(4096, longest=128)
def names_secret(name: str) -> bool:
    """Return whether a variable, option or member of this name holds a secret, not only a hint at one."""
    plain = _CAMEL.sub("_", name).lower().lstrip("-.")
    if _WORDS.search(plain) is None or plain in _FOLDERS:
        return False
    return _DESCRIBES.search(plain) is None or (_IDENTIFIES.search(plain) is not None and "secret" in plain)


def holds_nothing(name: str, value: str) -> bool:
    """Return whether the value of such a name is no secret: a word, a reference, a file, a count."""
    if _NO_SECRET.fullmatch(value):
        return True
    return name.lower().endswith("tokens") and value.strip("\"'").isdecimal()


def known_spans(text: str) -> Iterator[Span]:
    """Yield where a text has secrets of a known form, and credentials in the syntax of protocols."""
    if _LONG.search(text):
        for literal, pattern in _known():
            if literal in text:
                for match in _compiled(pattern).finditer(text):
                    yield match.span()
    lower = text.lower()
    for hint, pattern in _OTHERS:
        if hint in lower:
            for match in _compiled(pattern).finditer(text):
                yield match.span(1)


def named_spans(text: str, *, tight: bool = False) -> Iterator[Span]:
    """Yield where a text has values of names that hold secrets; ``tight`` leaves out forms of prose."""
    if not may_name(text):
        return
    at = 0
    pattern = _TIGHT if tight else _PAIR
    while found := pattern.search(text, at):
        at = found.end()
        if not names_secret(found["name"]):
            continue
        value = _VALUE.match(text, at)
        if value is None or holds_nothing(found["name"], value[0]):
            continue
        is_bare = text[at - 1] == ":" and not found["quote"]
        if is_bare and (text[found.start() - 1 : found.start()] == "/" or _TAG.fullmatch(value[0])):
            continue  # the name of an image and its tag
        yield value.span()
        at = value.end()


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return the spans in order. Spans that touch or overlap become one."""
    found: list[Span] = []
    for begin, end in sorted(spans):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        elif begin < end:
            found.append((begin, end))
    return found


def mask(text: str) -> str:
    """Return a text for people without what looks like a secret.

    Our own sentences contain ``token: expected …``, so a name counts here only in the syntax of a program.
    """
    spans = merged([*known_spans(text), *named_spans(text, tight=True)])
    return cut_out(text, spans) if spans else text


def cut_out(text: str, spans: Sequence[Span], instead: str = REDACTED) -> str:
    """Return a text with ``instead`` in place of each span. Spans are in order and do not overlap."""
    parts, at = [], 0
    for begin, end in spans:
        parts += [text[at:begin], instead]
        at = end
    return "".join((*parts, text[at:]))
