"""Text of strangers, safe to print: names, reasons and messages come from the cluster."""

from __future__ import annotations


def safe(text: str) -> str:
    """Return the text with everything escaped that a terminal might obey; line breaks stay."""
    return "".join(
        each if each == "\n" or each.isprintable() else each.encode("unicode_escape").decode()
        for each in text
    )
