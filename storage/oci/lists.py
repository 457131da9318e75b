"""Lists of registries: pages of referrers and tags, and the link to the next page."""

from __future__ import annotations

import re
from dataclasses import dataclass

import orjson

from storage import lean_json
from storage.errors import BadContent

_LONGEST_DIGEST = 100
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
LONGEST_WORD = 256
"""The most characters of a media type that are kept."""
_IS_NEXT = re.compile(r"\brel\s*+=\s*+\"?next\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry of a list of referrers. Long values are cut."""

    digest: str
    artifact_type: str


@dataclass(frozen=True, slots=True)
class Referrers:
    """What the referrers API listed. ``cut`` is the reason if the list is incomplete, else empty."""

    descriptors: tuple[Listed, ...]
    cut: str = ""


def next_page(link: str) -> str | None:
    """Return the target with ``rel="next"`` of a ``Link`` header (RFC 8288); None if it has none.

    The header is scanned once from start to end, so its cost is linear in its length.
    """
    at = 0
    while (begin := link.find("<", at)) >= 0 and (end := link.find(">", begin)) >= 0:
        comma = link.find(",", end)
        at = comma if comma >= 0 else len(link)
        parameters = link[end + 1 : at]
        if parameters.lstrip().startswith(";") and _IS_NEXT.search(parameters):
            return link[begin + 1 : end]
    return None


def tags_in(data: bytes) -> list[str]:
    """Return the tags on a page of a tag list. Fails in many ways for an invalid page."""
    return [tag for tag in lean_json.loads(data)["tags"] or [] if TAG.fullmatch(tag)]


def repositories_in(data: bytes) -> list[str]:
    """Return the names on a page of a catalog, as they are. Fails in many ways for an invalid page."""
    return [str(name) for name in lean_json.loads(data)["repositories"] or []]


def has_tag(data: bytes, tag: str) -> bool:
    """Whether a page of a tag list has the tag. Fails in many ways for an invalid page."""
    return tag in (lean_json.loads(data)["tags"] or [])


def listed_in(data: bytes, place: str, most: int) -> list[Listed]:
    """Return the first entries of an index. Raises :class:`BadContent`."""
    try:
        listed = lean_json.loads(data)["manifests"] or []
        if all(isinstance(entry, dict) for entry in listed):
            return [
                Listed(
                    str(entry.get("digest"))[:_LONGEST_DIGEST],
                    str(entry.get("artifactType") or "")[:LONGEST_WORD],
                )
                for entry in listed[:most]
            ]
    except lean_json.TooMany as exc:
        raise BadContent(f"{place} are not read: {exc.msg}") from None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        pass
    raise BadContent(f"{place} cannot be read: the answer is not an image index")
