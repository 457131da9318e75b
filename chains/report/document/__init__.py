"""The report as a document: its types, its file and its JSON Schema."""
