"""External parameters with numbers that readers of JSON round."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from chains.policy.answer import answer
from chains.policy.document.load import parse_policies
from chains.policy.document.patterns import read_image
from chains.policy.opened import open_policy
from tests.faults.verify.forge import NOW, Shelf, form_b
from tests.unit.chains.policy.made import REF, document, problems, tekton, wrong

Json = Any
LARGE = (1 << 64) + 1


def _asked(wanted: str, actual: str) -> dict[str, str]:
    """Return what is wrong with a number, where the policy in YAML allows another."""
    text = json.dumps(document(require={"externalParameters": {"size": "WANTED"}})).replace(
        '"WANTED"', wanted
    )
    # a list of one document is no JSON object, so it is read as YAML
    (policy,) = parse_policies(f"---\n{text}".encode(), "policy.yaml").policies
    built = json.dumps(tekton(external={"size": "ACTUAL"})).replace('"ACTUAL"', actual).encode()
    held = [Shelf(form_b(built))]
    found = asyncio.run(answer([open_policy(policy)], read_image(REF), stores=held, now=NOW))
    assert found is not None
    return wrong(found.strictest)


@pytest.mark.parametrize(
    "number", [0, 1 << 53, (1 << 53) + 1, 1 << 63, (1 << 64) - 1, 1 << 64, LARGE, 10**40]
)
def test_a_whole_number_of_any_size_is_itself_and_no_neighbour(number: int) -> None:
    not_allowed = {"externalParameters": "parameter_not_allowed"}
    assert _asked(str(number), str(number)) == {}
    assert _asked(str(number), str(number + 1)) == not_allowed
    assert _asked(str(number), f"{number}.0") == not_allowed


@pytest.mark.parametrize("value", [LARGE, [1, {"deep": LARGE}], 1e30, -(10**40)])
def test_a_policy_in_json_has_no_number_that_was_rounded(value: Json) -> None:
    assert problems(document(require={"externalParameters": {"size": value}})) == {"wrong_type"}
    assert problems(document(require={"externalParameters": {"size": (1 << 64) - 1, "part": 1.5}})) == set()
