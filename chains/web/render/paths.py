"""The permalinks of pages. An empty text means that there is none: the name is then shown without a link."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from markupsafe import Markup, escape

from chains.text import plain
from chains.web.render.text import name, segment, short

_GIT: Final = frozenset({"sha1", "gitCommit"})


def artifact(digest: str) -> str:
    """Return the page of an artifact by its digest."""
    return _of_digest("artifact", digest)


def input_page(digest: str) -> str:
    """Return the page of an input by its digest; that of a commit if it is one."""
    algorithm, _, value = digest.partition(":")
    if algorithm in _GIT:
        return commit(value)
    return _of_digest("input", digest)


def attestation(digest: str) -> str:
    """Return the page of an attestation by its own digest."""
    return _of_digest("attestation", digest)


def commit(value: str) -> str:
    """Return the page of a commit."""
    return f"/commit/{segment(value)}" if segment(value) else ""


def run(uid: str) -> str:
    """Return the page of a run by its UID."""
    return f"/run/{segment(uid)}" if segment(uid) else ""


def namespace(text: str) -> str:
    """Return the page of a namespace."""
    return f"/namespace/{segment(text)}" if segment(text) else ""


def pipeline(text: str) -> str:
    """Return the page of a pipeline's history."""
    return f"/pipeline/{segment(text)}" if segment(text) else ""


def signer(text: str) -> str:
    """Return the page of a key or identity."""
    return f"/signer/{segment(text)}" if segment(text) else ""


def ledger_day(text: str) -> str:
    """Return the page of a day of the ledger."""
    return f"/ledger/{segment(text)}" if segment(text) else ""


def search(query: str, **more: str) -> str:
    """Return the page of a search."""
    return "/search?" + urlencode({"q": query, **{key: value for key, value in more.items() if value}})


def copy_of(digest: str, copy: str) -> str:
    """Return the download of a stored copy of an attestation, by the SHA-256 of its bytes."""
    return f"{attestation(digest)}/copy/{segment(copy.partition(':')[2])}"


def report(label: str) -> str:
    """Return the page of a report."""
    return f"/reports/{segment(label)}" if segment(label) else ""


def report_file(label: str, file: str) -> str:
    """Return the download of a file of a report."""
    return f"{report(label)}/{segment(file)}" if report(label) and segment(file) else ""


def controls(framework: str, label: str) -> str:
    """Return the page of the controls of a framework in a report."""
    return f"/controls/{segment(framework)}?" + urlencode({"report": label}) if segment(framework) else ""


def export(query: str, form: str) -> str:
    """Return the path of what fits a query as a file, ``csv`` or ``json``."""
    return f"/search.{form}?" + urlencode({"q": query})


def api(path: str, **query: str) -> tuple[str, str]:
    """Return the link to a path of the API below its base, with what of the query is given."""
    given = {key: value for key, value in query.items() if value}
    return "API", f"{path}?{urlencode(given)}" if given else path


def quoted(text: str) -> str:
    """Return a value as a query takes it, in quotes."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def link(path: str, label: object) -> Markup:
    """Return a link to a page with a name of others as its label; the name alone without a path."""
    if not path:
        return name(label)
    return Markup(f'<a href="{escape(path)}">{name(label)}</a>')  # noqa: S704 - both are escaped


def digest_link(path: str, digest: str) -> Markup:
    """Return a link with the beginning of a digest; the whole one is its title."""
    label = Markup(f'<code class="short">{name(short(digest))}</code>')  # noqa: S704 - escaped by name
    if not path:
        return label
    whole = escape(plain(digest[:200]))
    return Markup(f'<a href="{escape(path)}" title="{whole}">{label}</a>')  # noqa: S704 - all are escaped


def _of_digest(kind: str, digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    first, second = segment(algorithm), segment(value)
    return f"/{kind}/{first}/{second}" if first and second else ""
