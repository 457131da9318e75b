"""A report as PDF for people, made by typst from the document alone.

Texts go to typst as JSON, never as markup. Not allowed here: what is said elsewhere in the document, other
fonts than those inside of typst.
"""
