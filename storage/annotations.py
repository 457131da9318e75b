"""The store in the annotations of the run, in the format of Tekton Chains' ``tekton`` storage.

This module sends nothing. :meth:`AnnotationStore.put` collects annotations, and the one PATCH that marks the
run as signed writes them. A receipt is therefore valid only after that PATCH. Kubernetes allows 256 KiB of
annotations per object.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence

from storage.base import FORM_A, Probe, Store, StoreOptions
from storage.errors import StoreRejected
from storage.formats.chains_document import annotation_key
from storage.record import Failure, Findings, Receipt, Record, Stored

PREFIX = "chains.tekton.dev/"
MAX_BYTES = 256 * 1024
"""The API server's limit for all annotations of one object, keys and values together."""
_RESERVE = 16 * 1024
"""Room for annotations that others write, and for the marks of the outcome."""


class AnnotationStore(Store):
    """Collects annotations by UID of the run. :meth:`take` returns them once."""

    def __init__(self, url: str, options: StoreOptions) -> None:
        del options
        if url != "tekton:":
            raise StoreRejected(f"unknown store {url!r}: expected tekton:")
        self.url = url
        self._pending: dict[str, dict[str, str]] = {}

    def wants(self, form: str) -> bool:
        """Whether annotations can hold the form. There is none for bundles."""
        return form == FORM_A

    async def put(self, record: Record) -> Stored:
        """Collect the annotations of a record; a failure if the object would become too large."""
        key = annotation_key(record)
        written = annotations_of(record, key)
        pending = self._pending.setdefault(record.origin.uid, {})
        # Counted with what other records of the run collected before, because one PATCH writes all of it.
        size = sum(len(name) + len(value) for name, value in {**pending, **written}.items())
        if size > MAX_BYTES - _RESERVE:
            reason = (
                f"annotations would take {size >> 10} KiB and kubernetes allows {MAX_BYTES >> 10} for all of "
                "an object's; store in oci or another place"
            )
            return Stored(failures=(Failure(self.url, "annotation", "", reason),))
        pending.update(written)
        return Stored((Receipt(self.url, "annotation", "", f"annotation {PREFIX}payload-{key}", ""),))

    def take(self, uid: str) -> Mapping[str, str]:
        """Return what was collected for a run and forget it."""
        return self._pending.pop(uid, {})

    async def probe(self, places: Sequence[str] = ()) -> list[Probe]:
        """Report that the right to patch runs is all this store needs."""
        del places
        return [Probe("write", "ok", "goes into the one patch that marks a run")]

    async def find(self, digest: str, reference: str = "") -> Findings:
        """Return nothing: annotations are read from the run and cannot be searched by digest."""
        del digest, reference
        return Findings()


def annotations_of(record: Record, key: str) -> dict[str, str]:
    """Return the annotations of one record, values in standard base64.

    Chains' key ``signature`` of an in-toto payload holds the whole envelope.
    """
    values = {
        "payload": record.payload,
        "signature": record.signature or record.envelope,
        "cert": record.certificate,
        "chain": record.chain,
    }
    return {
        f"{PREFIX}{name}-{key}": b64encode(value).decode("ascii")
        for name, value in values.items()
        if value or name in {"cert", "chain"}
    }
