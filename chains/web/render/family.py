"""The picture of an artifact between what it was made from and what was made with it."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from chains.web.answers.artifact import UsedInput
from chains.web.answers.lineage import Made
from chains.web.render import paths
from chains.web.render.graph import Box, Line, graph_svg
from chains.web.render.text import short

MOST = 10
"""Boxes on each side."""
_LETTERS = 24
"""What fits into a box."""
_ORDER = {"source": 0, "definition": 1, "step image": 2, "dependency": 3}


def family_svg(digest: str, name: str, inputs: Sequence[UsedInput], made: Made) -> Markup:
    """Return the picture; an empty one if nothing is known on either side."""
    ranked = sorted((one for one in inputs if one.digest), key=lambda one: _ORDER.get(one.role, 4))
    sources = ranked[:MOST]
    products = made.products[:MOST]
    if not sources and not products:
        return Markup("")
    boxes = [Box("own", (_end(name) or "this artifact", short(digest), "this artifact"), digest, "own", 1)]
    lines = []
    for number, one in enumerate(sources):
        key = f"in-{number}"
        boxes.append(
            Box(
                key,
                (_end(one.name), short(one.digest), one.role),
                f"{one.name} {one.digest}",
                "confirmed",
                0,
                paths.input_page(one.digest),
            )
        )
        lines.append(Line(key, "own", f"{one.role} of the run that made it"))
    for number, product in enumerate(products):
        key = f"out-{number}"
        subject = product.subject
        state = "made with it" if product.is_verified else "claimed, not confirmed"
        boxes.append(
            Box(
                key,
                (_end(subject.name), short(subject.digest), state),
                f"{subject.name} {subject.digest}",
                "confirmed" if product.is_verified else "claimed",
                2,
                paths.artifact(subject.digest),
            )
        )
        lines.append(Line("own", key, product.run or "a run", is_dashed=not product.is_verified))
    text = f"Made from {len(ranked)} inputs with digests, {len(sources)} of them drawn. "
    text += f"{len(products)} artifacts that were made with it are drawn."
    return graph_svg(
        "family", "What this artifact was made from and what was made with it", text, boxes, lines
    )


def _end(text: str) -> str:
    """Return the end of a long name: names begin alike."""
    bare = text.removeprefix("git+").removeprefix("https://").removeprefix("oci://")
    return bare if len(bare) <= _LETTERS else f"…{bare[1 - _LETTERS :]}"
