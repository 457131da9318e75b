"""Reports of a period: one canonical JSON document from an audit, and its forms for people and programs.

Everything a form shows comes from the document alone. Not allowed here: how evidence is verified, searched or
audited; printing to a terminal.

``document/`` has the types of the document (``format.py``), its file (``file.py``) and its JSON Schema.
``gather/`` makes a document from an audit. ``forms/`` writes it in other forms.

A form is a function ``(Document) -> Iterable[File]``. It reads nothing but the document, so the same
document gives the same bytes. It is added with one line in :data:`chains.report.forms.table.FORMS`; a module
that needs a package of an extra is imported when the form is asked for. Text from runs and stores is hostile
until the form escapes it: :func:`chains.text.plain`, :func:`chains.columns.csv_line`, or a template with
autoescape. What a document says about controls is put into ``head["controls"]`` before it is written; see
:class:`chains.report.document.format.Control`.
"""
