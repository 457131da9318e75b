"""OSCAL assessment results from a report document alone, as plain JSON values of OSCAL 1.2.1.

Same report, same bytes: identifiers are UUIDv5 of the report's digest. Not allowed here: what a control
demands, reading anything but the document.
"""
