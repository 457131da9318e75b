"""The repository that gathers evidence, with placeholders: what it means and where to look."""

from __future__ import annotations

import pytest

from storage.errors import StoreRejected
from storage.formats.repository_template import parse_gathered
from storage.record import Origin

RUN = Origin("taskrun", "shop", "build-7", "uid")


def test_placeholders_are_the_runs_fields() -> None:
    found = parse_gathered("oci://reg.example/a/{namespace}/{kind}/x-{name}.y").expand(RUN)
    assert str(found) == "reg.example/a/shop/taskrun/x-build-7.y"


def test_text_without_placeholders_is_itself() -> None:
    gathered = parse_gathered("reg.example/evidence")
    assert [str(place) for place in gathered.places(None)] == ["reg.example/evidence"]


def test_an_unknown_kind_is_looked_for_under_each() -> None:
    gathered = parse_gathered("reg.example/{namespace}/{kind}")
    found = gathered.places(Origin("", "shop", "", ""))
    assert [str(place) for place in found] == ["reg.example/shop/taskrun", "reg.example/shop/pipelinerun"]
    assert [str(place) for place in gathered.places(RUN)] == ["reg.example/shop/taskrun"]


def test_an_unknown_name_is_refused_with_the_next_step() -> None:
    with pytest.raises(StoreRejected, match="the run's name and namespace: pass --namespace"):
        parse_gathered("reg.example/{namespace}/{name}").places(None)
