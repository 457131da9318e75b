"""The names of files in the folder of the store."""

from __future__ import annotations

import re

from storage.record import BUNDLE_FORMAT, DSSE_FORMAT, SIMPLE_SIGNING_FORMAT

FORMATS = {".bundle.json": BUNDLE_FORMAT, ".envelope.json": DSSE_FORMAT, ".sig": SIMPLE_SIGNING_FORMAT}
"""The endings of evidence."""
HEX = re.compile(r"[0-9a-f]{2,256}")
ALGORITHM = re.compile(r"[A-Za-z0-9_]{1,40}")
RUN = ".run.json"
"""The file that describes a run."""
