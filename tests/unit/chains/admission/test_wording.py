"""Denials, warnings and annotations: complete for the first images, within limits for many, safe to print."""

from __future__ import annotations

import json

from chains.admission.judge import Judged
from chains.admission.ruling import Ruling
from chains.admission.wording import audit_annotations, cut, denial, warnings
from chains.policy.verdict import Decision

HEX = "ab" * 32


def judged(decision: Decision, image: str = f"r.example.com/a@sha256:{HEX}", **more: str) -> Judged:
    ruling = Ruling(
        decision, "FAILED", ("production",), "level", "level_too_low", "3", more.pop("actual", "2")
    )
    return Judged(image, more.pop("where", "container a"), ruling)


def test_a_denial_explains_some_images_and_counts_the_others() -> None:
    told = denial([judged(Decision.WARN), *[judged(Decision.DENY)] * 7])
    assert told.count("is denied by policy production: level (level_too_low): expected 3, got 2") == 5
    assert "; and 2 more images; to see every check: chains verify" in told


def test_text_of_strangers_is_escaped_and_secrets_are_masked() -> None:
    hostile = judged(
        Decision.DENY,
        "r.example.com/\x1b[2J\u202e",
        actual="password=hunter2hunter2 \x07 \u2028 ghp_" + "a" * 36,
        where="container \n",
    )
    for text in (denial([hostile]), json.dumps(audit_annotations([hostile], Decision.DENY, "sha256:1"))):
        assert "ghp_" + "a" * 36 not in text
        assert not {"\x1b", "\u202e", "\x07", "\u2028", "\n"} & set(text)


def test_warnings_keep_kubernetes_limits_in_bytes() -> None:
    long = judged(Decision.WARN, f"r.example.com/{'é' * 300}", actual="ü" * 300)
    found = warnings([long] * 40, is_pod=True)
    assert all(len(line.encode()) <= 256 for line in found)
    assert sum(len(line.encode()) for line in found) <= 4096
    assert found[0].startswith("level_too_low: r.example.com/")
    assert found[-1] == f"and {40 - len(found) + 1} more images with warnings"
    assert len(warnings([judged(Decision.WARN)] * 3, is_pod=True)) == 3


def test_a_text_is_cut_at_whole_characters() -> None:
    assert cut("abc", 3) == "abc"
    assert cut("ééé", 5) == "é…"
    assert cut("€€€", 8) == "€…"


def test_the_audit_log_gets_the_worst_images_first_and_no_more_than_it_should() -> None:
    many = [*[judged(Decision.ALLOW)] * 100, judged(Decision.DENY, "r.example.com/bad")]
    found = audit_annotations(many, Decision.DENY, "sha256:1")
    images = json.loads(found["images"])
    assert images[0]["image"] == "r.example.com/bad"
    assert len(found["images"]) <= 2048
    assert 3 < len(images) < 101
