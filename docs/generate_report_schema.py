"""Write ``docs/report.schema.json`` from the types of a report: ``python docs/generate_report_schema.py``."""

from __future__ import annotations

from pathlib import Path

from chains.report.document.schema import schema_bytes

if __name__ == "__main__":
    Path(__file__).with_name("report.schema.json").write_bytes(schema_bytes())
