"""The words of an answer: the denial, the warnings within Kubernetes' limits, and the audit annotations.

Images, evidence and policies are written by others: every text is escaped, secrets are masked, and all is
cut.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from chains.admission.judge import Judged
from chains.admission.ruling import Ruling
from chains.policy.verdict import Decision
from chains.text import count, told
from storage.limits.bounded import remembered

WARNING_BYTES, ALL_WARNINGS_BYTES = 256, 4096
"""Kubernetes cuts longer warnings to 256 characters, and drops what goes beyond 4096 in all (apiserver,
pkg/endpoints/filters/warning.go)."""
_MOST_DENIED = 5
"""Images that a denial explains; it says how many more there are."""
_LONGEST_ANNOTATION = 2048
_LONGEST_NAME = 300
_STRICTEST = (Decision.DENY, Decision.WARN, Decision.ALLOW)


def denial(judged: Sequence[Judged]) -> str:
    """Return the message for whoever is denied: each image with the first requirement that is not met."""
    denied = [one for one in judged if one.ruling.decision is Decision.DENY]
    lines = [_sentence(one) for one in denied[:_MOST_DENIED]]
    if denied[_MOST_DENIED:]:
        lines.append(f"and {count(len(denied) - _MOST_DENIED, 'more image')}")
    first = next((one for one in denied if one.ruling.verdict), None)
    if first is not None:
        image = told(first.image[:_LONGEST_NAME])
        lines.append(f"to see every check: chains verify --policy POLICY --verbose {image}")
    return "; ".join(lines)


def _sentence(one: Judged) -> str:
    image = f"image {told(one.image[:_LONGEST_NAME])} " if one.image else ""
    by = f" by policy {told(one.ruling.policies[0])}" if one.ruling.policies else ""
    return f"{image}({told(one.where[:_LONGEST_NAME])}) is denied{by}: {why(one.ruling)}"


def why(ruling: Ruling) -> str:
    """Return the first requirement that is not met, on one line."""
    reason = f" ({ruling.reason})" if ruling.reason else ""
    guidance = f"; {ruling.guidance}" if ruling.guidance else ""
    return told(f"{ruling.requirement}{reason}: expected {ruling.expected}, got {ruling.actual}{guidance}")


def warnings(judged: Iterable[Judged], *, is_pod: bool) -> list[str]:
    """Return a warning for each image that is not as demanded, and for each tag of a template.

    They are within Kubernetes' limits.
    """
    found = []
    for one in judged:
        image = _short(one.image)
        if one.ruling.decision is Decision.WARN:
            found.append(f"{one.ruling.reason or one.ruling.verdict}: {image}: {why(one.ruling)}")
        elif one.is_tag and not is_pod and one.ruling.policies and one.ruling.decision is Decision.ALLOW:
            found.append(f"{image} is a tag: each pod gets what it points to then; name the digest")
    return within_limits(found)


def _short(image: str) -> str:
    """Return an image without the middle of a long name: its end has the digest or tag."""
    image = told(image)
    return image if len(image) <= 100 else f"{image[:60]}…{image[-39:]}"  # noqa: PLR2004


def within_limits(texts: Sequence[str]) -> list[str]:
    """Return warnings, escaped, as far as Kubernetes shows them; the last one counts what is left out."""
    found: list[str] = []
    left = ALL_WARNINGS_BYTES
    for number, text in enumerate(texts):
        line = cut(told(text), WARNING_BYTES)
        rest = f"and {count(len(texts) - number, 'more image')} with warnings"
        # room for the last line stays free while there may be one
        if len(line.encode()) + (len(rest) if texts[number + 1 :] else 0) > left:
            found.append(rest)
            break
        found.append(line)
        left -= len(line.encode())
    return found


def cut(text: str, most: int) -> str:
    """Return text of at most ``most`` bytes in UTF-8; what is cut off ends with an ellipsis."""
    data = text.encode("utf-8", "replace")
    if len(data) <= most:
        return text
    return data[: most - 3].decode("utf-8", "ignore") + "…"


def audit_annotations(judged: Sequence[Judged], decision: Decision, digest: str) -> dict[str, str]:
    """Return what the audit log of the cluster keeps: the decision, the policies in force, and each image."""
    images: list[dict[str, str]] = []
    written = "[]"
    for one in sorted(judged, key=lambda one: _STRICTEST.index(one.ruling.decision)):
        images.append(_record(one))
        longer = json.dumps(images)
        if len(longer) > _LONGEST_ANNOTATION:
            break
        written = longer
    return {"decision": decision.value, "policies": digest, "images": written}


def _record(one: Judged) -> dict[str, str]:
    record = {"image": _told(one.image[:_LONGEST_NAME]), "decision": one.ruling.decision.value}
    if one.is_tag and one.digest:
        record["digest"] = one.digest
    told_of = {"verdict": one.ruling.verdict, "reason": one.ruling.reason}
    record |= {name: value for name, value in told_of.items() if value}
    if one.ruling.policies:
        record["policy"] = _told(one.ruling.policies[0])
    return record


@remembered(4096, longest=_LONGEST_NAME)
def _told(text: str) -> str:
    """Return what :func:`told` does, which takes as long as the rest of an answer that is kept."""
    return told(text)


def strictest(decisions: Iterable[Decision]) -> Decision:
    """Return the strictest of some decisions, ``allow`` for none."""
    return min(decisions, key=_STRICTEST.index, default=Decision.ALLOW)
