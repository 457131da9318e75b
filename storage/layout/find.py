"""Finds evidence in an OCI image layout from its index. Every function here may block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from storage import lean_json
from storage.errors import BadContent
from storage.formats.digest import is_sha256
from storage.formats.manifest_evidence import RUN, RUN_UID, Contents, Wanted, run_of
from storage.formats.manifests import MANIFEST_LIMIT, OCI_INDEX, Entry, Manifest, ReferrerIndex, tag_of
from storage.layout.blobs import Blobs
from storage.layout.index import Index
from storage.layout.lookup import REF_NAME, SUBJECT, annotation
from storage.limits import allowance
from storage.limits.allowance import Allowance, within
from storage.record import Evidence, Findings, ListedRun, Origin, Skipped

SOURCE = "oci-layout"
_CREATED = "org.opencontainers.image.created"
_MANY, _MANY_BYTES = 256, 4 * 1024 * 1024
"""The most entries that :func:`read_some` reads, and the bytes of evidence after which it stops."""


def find_digest(index: Index, blobs: Blobs, digest: str) -> Findings:
    """Return the evidence about the subject ``digest`` (``algorithm:hex``)."""
    entries: dict[str, Mapping[str, Any]] = {}
    tags = {tag_of(digest, ".att"), tag_of(digest, ".sig")} if is_sha256(digest) else set()
    fallback = tag_of(digest) if is_sha256(digest) else None
    skipped: list[Skipped] = []
    # A search by text also finds entries in which the hex has another meaning, so each is checked.
    words = {digest, *tags, *([fallback] if fallback else [])}
    for entry in index.naming(words, digest.partition(":")[2]):
        name = annotation(entry, REF_NAME)
        if name in tags or digest in annotation(entry, SUBJECT).split(","):
            entries[str(entry.get("digest"))] = entry
        # A layout copied from a registry may have the referrers in an index under the fallback tag.
        elif name == fallback and entry.get("mediaType") == OCI_INDEX:
            referrers, problems = _listed(blobs, entry)
            entries.update((listed.digest, {"digest": listed.digest}) for listed in referrers)
            skipped.extend(problems)
    contents = [_contents(blobs, entry, digest) for entry in entries.values()]
    contents.extend(_foreign(index, blobs, digest, seen=set(entries)))
    return _fetched(blobs, contents, skipped)


def find_run(index: Index, blobs: Blobs, uid: str) -> Findings:
    """Return the evidence from the run ``uid``."""
    contents = []
    for entry in index.naming({uid}, uid):
        if uid not in annotation(entry, RUN_UID).split(","):
            continue
        held = _contents(blobs, entry, "")
        wanted = tuple(item for item in held.wanted if item.annotations.get(RUN_UID) == uid)
        contents.append(Contents(wanted, held.skipped))
    return _fetched(blobs, contents, [])


def list_runs(index: Index) -> list[ListedRun]:
    """Return the runs that the index names. Of a run that only a tag names, just the UID is known."""
    runs: dict[str, ListedRun] = {}
    for entry in index.containing(RUN_UID):
        run = run_of({key: annotation(entry, key) for key in (RUN, RUN_UID)})
        if run is not None and run.kind:
            runs[run.uid] = ListedRun(run, annotation(entry, _CREATED))
        for uid in annotation(entry, RUN_UID).split(","):
            runs.setdefault(uid, ListedRun(Origin("", "", "", uid), ""))
    return list(runs.values())


def read_some(entries: Sequence[bytes], first: int, blobs: Blobs) -> list[Findings]:
    """Return the evidence of each entry from the number ``first`` on, of at least one of them."""
    found: list[Findings] = []
    held = 0
    for raw in entries[first : first + _MANY]:
        with within(Allowance()):
            findings = _fetched(blobs, *_held(lean_json.loads(raw), blobs))
        found.append(findings)
        held += sum(len(one.data) for one in findings.evidence)
        if held > _MANY_BYTES:
            break
    return found


def _held(entry: Mapping[str, Any], blobs: Blobs) -> tuple[list[Contents], list[Skipped]]:
    """Return what an entry leads to, and what of it cannot be read."""
    # A layout copied from a registry may have referrers in an index under the tag sha256-<hex>.
    if entry.get("mediaType") != OCI_INDEX or not annotation(entry, REF_NAME).startswith("sha256-"):
        return [_contents(blobs, entry, "")], []
    listed, skipped = _listed(blobs, entry)
    return [_contents(blobs, {"digest": one.digest}, "") for one in listed], skipped


def _contents(blobs: Blobs, entry: Mapping[str, Any], subject: str) -> Contents:
    """Return the evidence in the manifest of an index entry."""
    digest = str(entry.get("digest"))[:100]
    location = place_of(blobs, entry)
    try:
        data = blobs.read(digest, MANIFEST_LIMIT)
    except BadContent as exc:
        return Contents(skipped=(Skipped(location, digest, str(exc)),))
    return blobs.manifests.read(data, SOURCE, location, digest, subject)


def place_of(blobs: Blobs, entry: Mapping[str, Any]) -> str:
    """Return where the evidence of an index entry lies: the layout, and the digest of the manifest."""
    return f"{blobs.root}@{str(entry.get('digest'))[:100]}"


def _listed(blobs: Blobs, entry: Mapping[str, Any]) -> tuple[tuple[Entry, ...], list[Skipped]]:
    """Return the entries of a referrers index (tag ``sha256-<hex>``) and what could not be read."""
    digest = str(entry.get("digest"))
    try:
        data = blobs.read(digest, MANIFEST_LIMIT)
        return ReferrerIndex().read(Manifest(OCI_INDEX, digest, data)).entries, []
    except BadContent as exc:
        return (), [Skipped(f"{blobs.root}@{digest[:100]}", digest[:100], str(exc))]


def _foreign(index: Index, blobs: Blobs, digest: str, seen: set[str]) -> Iterator[Contents]:
    """Yield the bundles of other tools whose manifests have the subject ``digest``."""
    for own in index.foreign_bundles():
        if own in seen or blobs.manifests.names(own, digest) is False:
            continue
        try:
            data = blobs.read(own, MANIFEST_LIMIT)
        except BadContent:
            data = b""
        blobs.manifests.learn(own, data)
        # An unreadable manifest is passed on too: _contents() reports it as skipped.
        if not data or digest.encode() in data:
            yield _contents(blobs, {"digest": own}, digest)


def _fetched(blobs: Blobs, contents: Iterable[Contents], skipped: list[Skipped]) -> Findings:
    """Read the wanted blobs, within the allowance of the search."""
    evidence: list[Evidence] = []
    allowed = allowance.current()
    for part in contents:
        skipped.extend(part.skipped)
        for wanted in part.wanted:
            result = _fetch(blobs, wanted, allowed)
            if isinstance(result, Evidence):
                evidence.append(result)
            else:
                skipped.append(result)
    return Findings(tuple(evidence), tuple(skipped))


def _fetch(blobs: Blobs, wanted: Wanted, allowed: Allowance) -> Evidence | Skipped:
    """Read one blob. What it does not use of the allowance is given back."""
    if reason := allowed.take(wanted.size):
        return wanted.skipped(reason)
    data = b""
    try:
        data = blobs.read(wanted.digest, wanted.size)
    except BadContent as exc:
        return wanted.skipped(str(exc))
    finally:
        allowed.give_back(wanted.size - len(data))
    return wanted.evidence(allowed.kept(wanted.digest, data))
