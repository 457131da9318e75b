"""For every policy and target: the YAML parses, holds no signer that the policy does not have, and reads the same."""

from __future__ import annotations

import re
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chains.policy.engines.gatekeeper import ProviderAt
from chains.policy.engines.gatekeeper import generate as for_gatekeeper
from chains.policy.engines.generated import Generated, to_yaml
from chains.policy.engines.targets import TARGETS
from chains.policy.opened import OpenedPolicy
from tests.faults.verify.forge import NOW, public
from tests.testbed.certificates import make_certificates
from tests.unit.chains.policy.made import document, opened, trust

Json = Any
# Gatekeeper's documents name no signer: the provider knows them; those of Kubernetes itself verify nothing
SIGNING = [target for target in TARGETS if target not in {"gatekeeper", "validatingadmissionpolicy-note"}]
HOSTILE = [
    "'",
    '"',
    "`",
    "{{ request.object }}",
    "$(./name)",
    "\\",
    "#",
    "*",
    "?",
    "${x}",
    "]]",
    "é",
    "\u2028",
    "𝄞",
]
_TEXT = st.lists(st.sampled_from([*HOSTILE, "a", "B", "1", "/", "-"]), min_size=1, max_size=6).map("".join)
_URI = _TEXT.map(lambda text: "https://example.com/" + re.sub(r"\s", "", text))
_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | _TEXT | st.just("line\nbreak\r\t\x00"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_NAMESPACES = st.fixed_dictionaries(
    {},
    optional={
        "names": st.lists(st.sampled_from(["prod", "prod-*", "y", "1e3"]), min_size=1, max_size=2),
        "matchLabels": st.dictionaries(st.sampled_from(["env", "on"]), st.sampled_from(["yes", "1", "a"])),
    },
)
_REQUIRE = st.fixed_dictionaries(
    {},
    optional={
        "level": st.sampled_from([1, 2, 3]),
        "buildTypes": st.lists(_URI, min_size=1, max_size=2),
        "predicates": st.lists(_URI, min_size=1, max_size=2, unique=True),
        "externalParameters": st.dictionaries(_TEXT, _VALUE, max_size=3),
        "sources": st.just(
            [{"uri": "ssh://git@git.example.com/a/b.git", "refs": ["refs/tags/*", "*", "a{1}|b"]}]
        ),
        "hermetic": st.just("enforced"),
        "outcome": st.sampled_from(["succeeded", "failed"]),
        "namespaces": st.lists(_TEXT, min_size=1, max_size=2),
        "rejectedHints": st.just(False),
        "tasks": st.fixed_dictionaries(
            {"pinned": st.booleans()}, optional={"resolvers": st.lists(_TEXT, min_size=1, max_size=2)}
        ),
        "everyStore": st.booleans(),
    },
)
_POLICIES = st.builds(
    lambda name, builders, require, mode, namespaces, images: document(
        name,
        images,
        trust=[
            trust(f"t{at}", ("ours", "other", "stranger")[at % 3], builder=builder, level=1 + at % 3)
            for at, builder in enumerate(builders)
        ],
        require=require,
        mode=mode,
        match={"images": images, **({"namespaces": namespaces} if namespaces else {})},
    ),
    st.from_regex(r"\A[A-Za-z0-9](?:[A-Za-z0-9._-]{0,126}[A-Za-z0-9])?\Z"),
    st.lists(_URI, min_size=1, max_size=3),
    _REQUIRE,
    st.sampled_from(["enforce", "warn", "audit"]),
    _NAMESPACES,
    st.lists(
        st.sampled_from(
            ["**", "docker.io/**", "a.example/*/b", "a.example/**/c", "[::1]/x", "localhost:5/a*"]
        ),
        min_size=1,
        max_size=2,
    ),
)


@cache
def _provider() -> ProviderAt:
    with tempfile.TemporaryDirectory() as folder:
        return ProviderAt(ca=make_certificates(Path(folder)).ca_file.read_bytes())


def _generated(target: str, policy: OpenedPolicy) -> Generated:
    if target == "gatekeeper":
        return for_gatekeeper(policy, NOW, _provider())
    return TARGETS[target](policy, NOW)


def _texts(value: Json) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) else []


@pytest.mark.parametrize("target", TARGETS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(written=_POLICIES)
def test_what_is_generated_parses_and_holds_no_key_of_others(target: str, written: Json) -> None:
    (policy,) = opened(written)
    one = _generated(target, policy)
    text = to_yaml([one], target)
    assert text.isascii()
    assert list(one.documents) == [made for made in yaml.safe_load_all(text) if made is not None]
    allowed = {public(key).pem.decode() for key in ("ours", "other", "stranger")}
    allowed &= {key["pem"] for entry in written["spec"]["trust"] for key in entry["signer"]["keys"]}
    found = [text for made in one.documents for text in _texts(made) if "PUBLIC KEY" in text]
    assert set(found) <= allowed
    for made in one.documents:
        assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", made["metadata"]["name"])


@pytest.mark.parametrize("target", SIGNING)
def test_a_policy_that_nobody_can_pass_admits_nobody(target: str) -> None:
    (policy,) = opened(document(trust=[trust(level=1)], require={"level": 3}))
    text = to_yaml([TARGETS[target](policy, NOW)], target)
    assert "PUBLIC KEY" not in text
    # Conforma has no such word: a rule of its own refuses the empty list, and it verifies without a key nothing
    words = ("action: fail", "false", "`false`", '"allowed_builder_ids": []\n')
    assert any(word in text for word in words)
