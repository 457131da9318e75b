"""Policies for policy-controller: what is written, and what is told. Its own program decides in tests/interop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from chains.policy.document.patterns import ImagePattern
from chains.policy.engines.generated import Effect, Generated, to_yaml
from chains.policy.engines.globs import policy_controller_glob
from chains.policy.engines.targets import TARGETS
from tests.faults.verify.forge import NOW, public
from tests.unit.chains.policy.made import document, opened, trust
from tests.unit.chains.policy.summaries import accepted, door

Json = Any


def generated(**spec: Json) -> Generated:
    return TARGETS["policy-controller"](opened(document(**spec))[0], NOW)


def told(one: Generated) -> set[tuple[str, str]]:
    return {(limit.effect.value, limit.what) for limit in one.limits if limit.effect is not Effect.SETUP}


@pytest.mark.parametrize(
    ("pattern", "glob"),
    [
        ("registry.example.com/shop/app", "registry.example.com/shop/app@*"),
        ("Registry.Example.com/shop/*", "registry.example.com/shop/*@*"),
        ("docker.io/library/nginx", "index.docker.io/library/nginx@*"),
        ("127.0.0.1:5000/**", "127.0.0.1:5000/**@*"),
        ("**", "**@*"),
        (f"registry.example.com/a@sha256:{'0' * 64}", f"registry.example.com/a@sha256:{'0' * 64}"),
        ("[::1]:5000/a", None),
    ],
)
def test_a_pattern_becomes_the_glob_of_the_same_images(pattern: str, glob: str | None) -> None:
    assert policy_controller_glob(ImagePattern.parse(pattern)) == glob


def test_each_key_and_slsa_version_is_an_authority_with_the_builder_of_its_trust_entry() -> None:
    one = generated(trust=[trust("a", "ours", "other"), trust("b", "stranger", builder="https://b.example")])
    (policy,) = one.documents
    found = [
        (
            authority["key"]["data"],
            authority["attestations"][0]["predicateType"].rpartition("/")[2],
            "https://b.example" in authority["attestations"][0]["policy"]["data"],
        )
        for authority in policy["spec"]["authorities"]
    ]
    assert found == [
        (public(key).pem.decode(), version, key == "stranger")
        for key in ("ours", "other", "stranger")
        for version in ("v1", "v0.2")
    ]
    assert one.is_equal


def test_what_narrows_and_cannot_be_expressed_is_weaker() -> None:
    require = {"hermetic": "enforced", "outcome": "succeeded", "namespaces": ["ci"], "everyStore": True}
    one = generated(require=require, rules=[{"name": "r", "cel": "true", "message": "m"}])
    assert told(one) == {("weaker", f"require.{name}") for name in require} | {("weaker", "rule r")}
    assert not one.is_equal


def test_what_widens_and_cannot_be_expressed_is_stricter() -> None:
    exemption = {
        "image": "registry.example.com/team/app",
        "rules": ["level"],
        "reason": "r",
        "reference": "T",
    }
    one = generated(
        missing="warn",
        unavailable="warn",
        exemptions=[
            exemption | {"until": "2099-01-01T00:00:00Z"},
            exemption | {"until": "2001-01-01T00:00:00Z"},
        ],
        match={"images": ["**"], "namespaces": {"names": ["prod"]}},
    )
    names = ("missing", "unavailable", "exemptions", "match.namespaces")
    assert told(one) == {("stricter", name) for name in names}
    assert len([limit for limit in one.limits if limit.what == "exemptions"]) == 1


def test_an_accepted_summary_counts_for_nothing_and_without_trust_nobody_passes() -> None:
    (accepting,) = opened(door(accepted(), trust=[trust()]))
    alone = opened(door(accepted()))[0]
    for policy, authorities in ((accepting, ["key", "key"]), (alone, ["static"])):
        one = TARGETS["policy-controller"](policy, NOW)
        assert ("stricter", "accept.vsa security") in told(one)
        (written,) = one.documents
        found = [
            name for each in written["spec"]["authorities"] for name in each if name in {"key", "static"}
        ]
        assert found == authorities


def test_a_key_with_times_is_told_and_one_that_has_ended_is_left_out() -> None:
    windows = [
        {"from": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"},
        {"until": "2026-01-01T00:00:00Z"},
    ]
    entries = [
        trust(f"t{at}", key, **window)
        for at, (key, window) in enumerate(zip(("ours", "other"), windows, strict=True))
    ]
    one = generated(trust=entries)
    assert told(one) == {("weaker", "trust t0"), ("stricter", "trust t1")}
    assert public("other").pem.decode() not in to_yaml([one], "policy-controller").replace("        ", "")


def test_a_trust_entry_below_the_level_is_left_out_and_without_any_nobody_passes() -> None:
    entries = [trust("low", "ours", level=1), trust("high", "other", level=3)]
    (policy,) = generated(trust=entries, require={"level": 2}).documents
    keys = {authority["key"]["data"] for authority in policy["spec"]["authorities"]}
    assert keys == {public("other").pem.decode()}
    (policy,) = generated(trust=entries[:1], require={"level": 2}).documents
    (authority,) = policy["spec"]["authorities"]
    assert authority["static"]["action"] == "fail"


def test_each_predicate_type_is_a_policy_of_its_own_with_its_own_signers() -> None:
    sbom = "https://spdx.dev/Document"
    keys = {"keys": [{"pem": public("stranger").pem.decode()}]}
    one = generated(require={"predicates": [sbom]}, signers=[{"predicateType": sbom, **keys}])
    first, second = one.documents
    assert (first["metadata"]["name"], second["metadata"]["name"]) == ("production", "production-1")
    (authority,) = second["spec"]["authorities"]
    assert authority["key"]["data"] == public("stranger").pem.decode()
    assert authority["attestations"] == [{"name": "statement", "predicateType": sbom}]


@pytest.mark.parametrize(("mode", "written"), [("enforce", "enforce"), ("warn", "warn"), ("audit", "warn")])
def test_the_mode_is_kept_and_audit_warns(mode: str, written: str) -> None:
    one = generated(mode=mode)
    assert one.documents[0]["spec"]["mode"] == written
    assert told(one) == ({("stricter", "mode")} if mode == "audit" else set())


def test_the_yaml_holds_the_documents_and_tells_the_limits_above_them() -> None:
    one = generated(require={"hermetic": "enforced"})
    text = to_yaml([one, generated()], "policy-controller")
    assert list(yaml.safe_load_all(text)) == [*one.documents, *generated().documents]
    head = text.partition("apiVersion")[0]
    assert all(line.startswith("# ") for line in head.splitlines())
    assert "# weaker: require.hermetic: not checked by the engine: enforced\n" in head


def test_a_certificate_is_told_to_count_without_a_time_and_one_that_cannot_be_written_is_left_out() -> None:
    root = Path(__file__).parents[4] / "faults" / "verify" / "forged" / "trusted_root.json"
    assert root.is_file()
    identities: list[Json] = [
        {"san": "a*b?", "issuer": "https://issuer.example.com"},
        {"sanRegexp": "(?i)name", "issuerRegexp": "https://.*"},
    ]
    entries = [
        {"name": f"t{at}", "signer": {"identity": one}, "builderId": "https://b.example", "maxLevel": 2}
        for at, one in enumerate(identities)
    ]
    one = generated(trust=entries, trustedRoot=str(root))
    kinds = [made["kind"] for made in one.documents]
    assert kinds == ["TrustRoot", "ClusterImagePolicy"]
    authorities = one.documents[1]["spec"]["authorities"]
    written = [authority["keyless"]["identities"] for authority in authorities]
    assert written == [[{"subject": "a*b?", "issuer": "https://issuer.example.com"}]] * 2
    names = {authority["keyless"]["trustRootRef"] for authority in authorities}
    assert names == {one.documents[0]["metadata"]["name"]}
    texts = [str(limit) for limit in one.limits if limit.effect is not Effect.SETUP]
    assert len(texts) == 2
    assert any("without a verified time" in text for text in texts)
    assert any("is left out: flags are not translated" in text for text in texts)
