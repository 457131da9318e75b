"""What policies say about the images that a run made, beside the verification of the run itself."""

from __future__ import annotations

from datetime import datetime

from chains.audit.findings import State, Why
from chains.policy.loaded import Policy, UnmatchedError
from chains.tekton.snapshot import RunSnapshot
from chains.verify.runs.run import RunWanted
from chains.verify.verdict import Verdict
from storage.base import Store
from storage.errors import StoreRejected
from storage.formats.reference import Image, parse_image


async def refusal(
    policy: Policy, run: RunSnapshot, stores: tuple[Store, ...], now: datetime
) -> tuple[State, Why, str] | None:
    """Return why policies do not let the images of a run pass, None if they do or none is for them."""
    undecided = None
    for image in images_of(run):
        try:
            answer = await policy.decide(image, stores=stores, now=now)
        except UnmatchedError:
            continue
        words = f"{image.repository}@{image.digest}: {answer.summary}"
        if answer.exit_code and answer.verdict is not Verdict.INDETERMINATE:
            return State.FAILED, Why.POLICY_REFUSED, words
        if answer.exit_code:
            undecided = State.UNKNOWN, Why.STORE_UNAVAILABLE, words
    return undecided


def images_of(run: RunSnapshot) -> list[Image]:
    """Return the images that a run made, by digest."""
    found = []
    for subject in RunWanted(run).subjects:
        sha256 = (subject.digest or {}).get("sha256")
        try:
            if sha256:
                found.append(Image(parse_image(subject.name).repository, f"sha256:{sha256}"))
        except StoreRejected:
            continue  # no image
    return found
