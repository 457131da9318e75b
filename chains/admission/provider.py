"""Gatekeeper's external data: image references in, what a policy says about each of them out.

A verdict about evidence is an item: a value where the policy is met, an ``error`` where it is not. Gatekeeper
keeps both for minutes. What could not be decided now must not be kept: such an image has no item, and the
whole answer a ``systemError``. A constraint must therefore compare the images that it asked about with those
that were answered; the template of ``chains policy generate --for gatekeeper`` does.
Source: open-policy-agent/frameworks of 2026-06, ``pkg/externaldata``; gatekeeper 3.23.1.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chains.admission.judge import read_as_runtime
from chains.admission.policies import PolicySet
from chains.admission.ruling import AdmissionReason, Ruling
from chains.admission.wording import why
from chains.documents.decode import Unreadable, decode
from chains.errors import UsageError
from chains.policy.document.format import Consequence
from chains.policy.opened import OpenedPolicy
from chains.policy.verdict import Decision
from chains.text import count, excerpt, told
from chains.verify.verdict import Verdict
from storage.formats.reference import Image

API_VERSION = "externaldata.gatekeeper.sh/v1beta1"
LARGEST = 2 * 1024 * 1024
"""Bytes of a request. An object of Kubernetes has at most 1.5 MiB, and keys are the images of one."""
MOST_KEYS = 1000
AT_ONCE = 16
"""Images of one request that are in work at the same time."""
_LONGEST = 300
_MOST_NAMED = 3
_log = logging.getLogger("chains.admission")


class Known(StrEnum):
    """What the value of an item says; other answers are errors."""

    VERIFIED = "VERIFIED"
    EXEMPT = "EXEMPT"
    UNMATCHED = "UNMATCHED"


Ask = Callable[[PolicySet, Sequence[OpenedPolicy], Image], Awaitable[Ruling]]
"""Asks the policies, at least one, that match an image by digest, as ``Answers.ask`` does."""


@dataclass(frozen=True, slots=True)
class _Undecided:
    why: str


class _MalformedError(Exception):
    """The request is none of Gatekeeper's."""


async def provide(
    data: bytes, policies: PolicySet | None, ask: Ask, *, name: str = "", deadline: float
) -> bytes:
    """Return the ProviderResponse to a ProviderRequest, both as JSON. Never raises.

    ``policies`` are those in force; ``name`` chooses one of them, and without it all that match an image are
    asked. The namespace is not known here: constraints match it. ``deadline`` is a time of the event loop. A
    tag is refused if a policy may be for it: it can be moved before the image is pulled.
    """
    if policies is None:
        return _response([], "no policies are in force; the log of chains admission says why")
    chosen = [one for one in policies.policies if name in {"", one.policy.name}]
    if not chosen:
        known = ", ".join(one.policy.name for one in policies.policies) or "none"
        told_why = f"no policy {excerpt(name, 100)!r} is in force; there are: {excerpt(known)}"
        return _response([], told(told_why))
    try:
        keys = _keys(data)
    except _MalformedError as error:
        return _response([], told(str(error)))
    places = asyncio.Semaphore(AT_ONCE)

    async def answer(key: str) -> dict[str, Any] | _Undecided:
        try:
            async with asyncio.timeout_at(deadline), places:
                return await _item(key, policies, chosen, ask, name)
        except TimeoutError:
            return _Undecided("the evidence was not found in time")
        except Exception as error:  # noqa: BLE001 - a fault of ours is no verdict
            _log.exception("an image cannot be judged", extra={"image": told(key[:_LONGEST])})
            return _Undecided(f"unexpected {type(error).__name__}; please report it")

    found = await asyncio.gather(*map(answer, keys))
    late = [
        f"{key[:_LONGEST]}: {one.why}"
        for key, one in zip(keys, found, strict=True)
        if isinstance(one, _Undecided)
    ]
    return _response([one for one in found if not isinstance(one, _Undecided)], _system_error(late))


def _keys(data: bytes) -> list[str]:
    """Return each key of a request once, in their order. Raises :class:`_MalformedError`."""
    if len(data) > LARGEST:
        raise _MalformedError(f"the request has {len(data)} bytes, expected at most {LARGEST}")
    try:
        read = decode(data)
    except Unreadable as error:
        raise _MalformedError(f"the request cannot be read: {error}") from error
    if not isinstance(read, dict) or (read.get("apiVersion"), read.get("kind")) != (
        API_VERSION,
        "ProviderRequest",
    ):
        raise _MalformedError(f"expected a ProviderRequest of {API_VERSION}")
    request = read.get("request")
    keys = request.get("keys", []) if isinstance(request, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _MalformedError("expected request.keys to be a list of texts")
    found = list(dict.fromkeys(keys))
    if len(found) > MOST_KEYS:
        raise _MalformedError(f"the request asks about {len(found)} images, expected at most {MOST_KEYS}")
    return found


async def _item(
    key: str, policies: PolicySet, chosen: Sequence[OpenedPolicy], ask: Ask, name: str
) -> dict[str, Any] | _Undecided:
    try:
        image = read_as_runtime(key)
    except UsageError as error:
        return _refusal(key, AdmissionReason.NOT_AN_IMAGE, str(error))
    concerned = [
        one for one in chosen if (one.policy.matches if image.digest else one.policy.may_match)(image)
    ]
    if not concerned:
        return _value(key, Known.UNMATCHED, chosen, name, image.digest)
    if not image.digest:
        names = ", ".join(one.policy.name for one in concerned)
        told_why = f"policy {names} asks for a digest: a tag can be moved before the image is pulled"
        return _refusal(key, AdmissionReason.NOT_PINNED, told_why)
    ruling = await ask(policies, concerned, image)
    if ruling.is_met:
        known = Known.VERIFIED if ruling.verdict == Verdict.VERIFIED else Known.EXEMPT
        return _value(key, known, chosen, ruling.policies[0], image.digest)
    # what stays undecided until somebody corrects it is no case for the policy's word on what is away
    is_lasting = ruling.decision is Decision.DENY and any(
        one.policy.name == ruling.policies[0] and one.policy.unavailable is Consequence.WARN
        for one in concerned
    )
    if ruling.verdict == Verdict.INDETERMINATE and not is_lasting:
        return _Undecided(why(ruling))
    return {"key": key, "error": f"{ruling.verdict} policy {ruling.policies[0]}: {why(ruling)}"}


def _value(
    key: str, known: Known, policies: Sequence[OpenedPolicy], name: str, digest: str
) -> dict[str, Any]:
    own = next((one.policy.digest for one in policies if one.policy.name == name), "")
    return {
        "key": key,
        "value": {"verdict": known.value, "policy": name, "policyDigest": own, "digest": digest},
    }


def _refusal(key: str, reason: AdmissionReason, text: str) -> dict[str, Any]:
    """Return an item that denies, though no policy was asked.

    Its text begins with a verdict, as all of them: the template tells NOT_FOUND apart.
    """
    return {"key": key, "error": f"{Verdict.FAILED.value} {reason.value}: {told(excerpt(text))}"}


def _system_error(late: Sequence[str]) -> str:
    if not late:
        return ""
    more = f"; and {count(len(late) - _MOST_NAMED, 'more image')}" if late[_MOST_NAMED:] else ""
    return told("; ".join(excerpt(one, _LONGEST) for one in late[:_MOST_NAMED])) + more


def _response(items: Sequence[dict[str, Any]], system_error: str) -> bytes:
    response = {"idempotent": not system_error, "items": list(items), "systemError": system_error}
    written = {"apiVersion": API_VERSION, "kind": "ProviderResponse", "response": response}
    return json.dumps(written).encode()
