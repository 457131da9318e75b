"""The forms of a report: each is a function from the document alone to files."""
