"""Runs whose isolation is claimed, broken or unproven, each with the part of the report that says so.

The pods were made by Tekton's own builder (``tests/testbed/pods``) and then changed as each file says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent


def objects(name: str) -> dict[str, Any]:
    """Return the objects of a file by kind; each is the caller's own."""
    text = (FOLDER / f"{name}.yaml").read_bytes()
    return {item["kind"]: item for item in yaml.load(text, Loader=yaml.CSafeLoader)["items"]}
