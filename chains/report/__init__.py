"""Reports of a period: one canonical JSON document from index and audit, and its forms for people.

Everything a form shows comes from the document alone. Not allowed here: how evidence is verified, searched or
audited; printing to a terminal.
"""
