"""A report in which every text is hostile: what a stranger can put into runs, stores, logs and ledgers."""

from __future__ import annotations

import copy
from typing import Any

from chains.report.document.file import Document
from chains.report.document.format import text
from chains.report.document.schema import json_schema

TEXTS = (
    '"><script>alert(1)</script>',
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "</style><script>alert(1)</script>",
    "</title></svg><iframe src='https://evil.example'>",
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "[click](javascript:alert(1))",
    "![x](https://evil.example/x.png)",
    "https://evil.example/ www.evil.example @everyone #1 GH-1",
    "| a | b |\n|---|---|",
    "`code` ``more`` **bold** _under_ ~~gone~~ <!-- comment -->",
    "=cmd|' /C calc'!A0",
    "+1+1",
    "-1-1",
    "@SUM(1)",
    "\t=1",
    "\r\n=1",
    "\uff1d1",
    "{{ 7*7 }} {% raw %} ${7*7} #{7*7}",
    "\u202egnp.exe\u202c \u2066x\u2069 \u200b\u200d\ufeff\u00ad",
    "\x00\x01\x1b[31m\x7f\x9b31m\x85\u2028\u2029",
    "\ud800 lone",
    "]]> <![CDATA[ &amp; &#x3c;script&#x3e; &lt;",
    "\u4f60\u597d \u0645\u0631\u062d\u0628\u0627 a\u0301\u0301\u0301 \U0001f600",
    "#set page(width: 1cm)\n#panic() $ x $ <label> @ref",
    "x" * 1_000_000,
    "# heading\n- item\n1. item\n> quote\n---\n    code",
)
"""Every one of them is put into every text of a report."""


def hostile(document: Document) -> Document:
    """Return a report whose free texts are all hostile; times, states and digests stay what they are."""
    schema = json_schema()
    number = 0

    def free(shape: dict[str, Any], value: Any) -> Any:
        nonlocal number
        while "$ref" in shape:
            shape = schema["$defs"][shape["$ref"].rpartition("/")[2]]
        if "anyOf" in shape:
            shape = next(one for one in shape["anyOf"] if one.get("type") != "null")
            return None if value is None else free(shape, value)
        if isinstance(value, dict):
            return {name: free(shape["properties"][name], each) for name, each in value.items()}
        if isinstance(value, list):
            return [free(shape["items"], each) for each in value]
        if not isinstance(value, str) or "enum" in shape or "const" in shape:
            return value
        number += 1
        return text(TEXTS[number % len(TEXTS)])

    def rows(name: str) -> list[Any]:
        return [free(schema["properties"][name]["items"], one) for one in document.rows(name)]

    kept = ("at", "since", "until")
    head: Any = copy.deepcopy(document.head)
    changed = {name: free(schema["properties"][name], value) for name, value in head.items()}
    changed["scope"] |= {name: head["scope"][name] for name in kept}
    for was, now in zip(head["days"], changed["days"], strict=True):
        now["day"] = was["day"]
    for was, now in zip(head["namespaceDays"], changed["namespaceDays"], strict=True):
        now["day"] = was["day"]
    return Document.of(changed, rows("runs"), rows("artifacts"), rows("attestations"))
