"""Writes ``chains/tekton/schema.json`` from the Go types with which ``tests/testbed/peer`` is built."""

import json
from pathlib import Path

from tests.testbed.build import binary
from tests.testbed.peer_client import schema


def main() -> None:
    """Write the file, one structure per line."""
    structures = schema(binary("peer"))
    lines = [
        f"{json.dumps(name)}: {json.dumps(structures[name], separators=(',', ':'))}"
        for name in sorted(structures)
    ]
    target = Path(__file__).parents[2] / "chains" / "tekton" / "schema.json"
    target.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
