"""Policies as a library user has them: loaded once, asked about many images by one verifier."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import chains
from chains.cli.main import run as command
from chains.policy.verdict import answers_to_json
from chains.statements.statement import SCAI
from storage.base import Store
from storage.errors import StoreUnavailable
from storage.record import Findings
from tests.faults.verify.forge import BUILDER, DIGEST, IMAGE, NOW, OTHER, Shelf, form_b, public, signer
from tests.unit.chains.policy.made import REF, document, report, tekton, trust

Json = Any


def policy(*documents: dict[str, Json]) -> chains.Policy:
    text = "\n---\n".join(json.dumps(one) for one in documents)
    return chains.Policy.load(text=text)


def ask(
    loaded: chains.Policy,
    *stores: Store,
    image: str = REF,
    namespace: str | None = None,
    labels: Mapping[str, str] | None = None,
) -> chains.ImageAnswer:
    async def work() -> chains.ImageAnswer:
        async with chains.Verifier(policy=loaded, stores=stores, clock=lambda: NOW) as verifier:
            return await verifier.image(image, namespace=namespace, labels=labels)

    return asyncio.run(work())


def test_an_answer_says_what_is_wrong_and_what_to_do() -> None:
    found = ask(policy(document(require={"level": 3}, mode="warn")), Shelf(form_b(tekton())))
    assert (found.verdict, found.decision, found.exit_code) == (
        chains.Verdict.FAILED,
        chains.Decision.WARN,
        1,
    )
    assert found.guidance == ("build with a builder that is trusted up to the level that is demanded",)
    (wrong,) = (check for check in found.checks if check.is_wrong)
    assert (wrong.id, wrong.reason) == ("level", chains.PolicyReason.LEVEL_TOO_LOW)
    assert found.summary == "level: expected SLSA build level 3, got level 2 of trust entry tekton"
    assert found.to_json() == answers_to_json([found])


def test_the_strictest_of_several_policies_counts_and_the_shortest_cache() -> None:
    loaded = policy(
        document("lax", cacheSeconds=20),
        document("strict", require={"level": 3}),
        document("other", images=[IMAGE + "/other"], cacheSeconds=1),
    )
    found = ask(loaded, Shelf(form_b(tekton())))
    assert [(one.policy, one.decision) for one in found.verdicts] == [("strict", "deny"), ("lax", "allow")]
    assert found.cache_seconds == 20


def test_the_namespace_and_its_labels_decide_which_policies_count() -> None:
    lax, strict = document("lax"), document("strict", require={"level": 3})
    strict["spec"]["match"]["namespaces"] = {"matchLabels": {"env": "prod"}}
    loaded, shelf = policy(lax, strict), Shelf(form_b(tekton()))
    assert ask(loaded, shelf).decision is chains.Decision.DENY
    assert ask(loaded, shelf, namespace="shop").decision is chains.Decision.DENY
    assert ask(loaded, shelf, namespace="shop", labels={}).decision is chains.Decision.ALLOW
    strict["spec"]["match"]["namespaces"]["names"] = ["other"]
    assert ask(policy(lax, strict), shelf, namespace="shop").decision is chains.Decision.ALLOW
    assert ask(loaded, shelf, namespace="shop", labels={"env": "prod"}).decision is chains.Decision.DENY
    with pytest.raises(chains.UsageError, match="labels belong to a namespace"):
        ask(loaded, shelf, labels={"env": "prod"})


def test_an_image_that_no_policy_is_for_is_an_error_of_its_own() -> None:
    with pytest.raises(
        chains.UnmatchedError, match=r"no policy is for registry\.example\.com/other"
    ) as caught:
        ask(policy(document()), Shelf(), image=f"registry.example.com/other@{DIGEST}")
    assert caught.value.image == f"registry.example.com/other@{DIGEST}"
    assert caught.value.exit_code == 2


def test_an_exemption_in_use_is_part_of_the_answer() -> None:
    exempt = {
        "image": IMAGE,
        "rules": ["level"],
        "until": "2027-01-01T00:00:00Z",
        "reason": "r",
        "reference": "T-1",
    }
    found = ask(policy(document(require={"level": 3}, exemptions=[exempt])), Shelf(form_b(tekton())))
    assert found.verdict is chains.Verdict.VERIFIED
    assert [one.reference for one in found.exemptions] == ["T-1"]


def test_a_policy_has_no_answer_about_anything_but_images() -> None:
    verifier: Any = chains.Verifier(policy=policy(document()), stores=[Shelf()])
    for question in (verifier.digest(DIGEST), verifier.bundle(b""), verifier.target(DIGEST)):
        with pytest.raises(chains.UsageError, match="a policy decides about images alone"):
            asyncio.run(question)


def test_a_verifier_has_criteria_or_a_policy() -> None:
    make: Any = chains.Verifier
    own = chains.Criteria(keys=[public()])
    for arguments in ({}, {"criteria": own, "policy": policy(document())}):
        with pytest.raises(chains.UsageError, match="criteria or a policy"):
            make(**arguments)
    with pytest.raises(chains.UsageError, match="namespace is compared by policies alone"):
        asyncio.run(make(own, [Shelf()]).image(REF, namespace="shop"))


def test_a_verifier_with_a_policy_asks_the_registry_of_an_image_by_default() -> None:
    verifier = chains.Verifier(policy=policy(document()))
    assert [store.url for store in verifier.stores] == ["oci:"]


@pytest.mark.parametrize("arguments", [{}, {"path": "policy.yaml", "text": "{}"}])
def test_a_policy_is_loaded_from_one_place(arguments: dict[str, str]) -> None:
    with pytest.raises(chains.UsageError, match="from a path or from a text"):
        chains.Policy.load(**arguments)


def test_a_policy_that_is_wrong_is_refused_with_every_problem() -> None:
    wrong = document(mode="maybe", require={"level": 9})
    with pytest.raises(chains.PolicyError) as caught:
        policy(wrong)
    assert sorted(problem.path for problem in caught.value.problems) == ["spec.mode", "spec.require.level"]


def test_a_name_that_comes_twice_in_a_text_is_refused_as_it_is_in_a_folder() -> None:
    with pytest.raises(chains.PolicyError, match="policy 'production' is defined twice"):
        policy(document(), document())


def test_key_files_lie_beside_a_policy_or_in_the_folder_that_is_given(tmp_path: Path) -> None:
    (tmp_path / "builder.pub").write_bytes(public().pem)
    written = document(trust=[trust() | {"signer": {"keys": [{"ref": "builder.pub"}]}}])
    (tmp_path / "policy.json").write_text(json.dumps(written))
    for loaded in (
        chains.Policy.load(tmp_path),
        chains.Policy.load(str(tmp_path / "policy.json")),
        chains.Policy.load(text=json.dumps(written), folder=tmp_path),
    ):
        assert loaded.names == ("production",)
        assert ask(loaded, Shelf(form_b(tekton()))).verdict is chains.Verdict.VERIFIED


def test_a_tag_is_resolved_once_and_its_digest_decides() -> None:
    class Tags:
        asked: list[str]

        def __init__(self) -> None:
            self.asked = []

        async def resolve(self, reference: str) -> str:
            self.asked.append(reference)
            return DIGEST

    class Away(Tags):
        async def resolve(self, reference: str) -> str:
            raise StoreUnavailable("registry: no answer")

    tags = Tags()
    stores, loaded = [Shelf(form_b(tekton()))], policy(document())
    verifier = chains.Verifier(policy=loaded, stores=stores, resolver=tags, clock=lambda: NOW)
    found = asyncio.run(verifier.image(f"{IMAGE}:v1", resolve=True))
    assert found.strictest.image == REF
    assert tags.asked == [f"{IMAGE}:v1"]
    with pytest.raises(chains.UsageError, match="has no digest"):
        asyncio.run(verifier.image(f"{IMAGE}:v1"))
    verifier = chains.Verifier(policy=loaded, stores=stores, resolver=Away())
    with pytest.raises(chains.UsageError, match="the tag cannot be resolved: registry: no answer"):
        asyncio.run(verifier.image(f"{IMAGE}:v1", resolve=True))


def test_one_verifier_answers_many_questions_at_the_same_time() -> None:
    """Each store answer waits until all questions wait, so that all of them are open together."""
    count = 40
    loaded = policy(document(images=[IMAGE, IMAGE + "-*"], require={"hermetic": "enforced"}))

    class Together(Shelf):
        waiting = 0
        ready: asyncio.Event

        async def find(self, digest: str, reference: str = "") -> Findings:
            self.waiting += 1
            if self.waiting >= count:
                self.ready.set()
            await self.ready.wait()
            held = [form_b(tekton()), form_b(report())] if digest == DIGEST else [form_b(tekton(value=OTHER))]
            return Findings(tuple(held), ())

    async def work() -> list[str]:
        store = Together()
        store.ready = asyncio.Event()
        async with chains.Verifier(policy=loaded, stores=[store], clock=lambda: NOW) as verifier:
            images = [REF if at % 2 else f"{IMAGE}-{at}@sha256:{OTHER}" for at in range(count)]
            return [one.verdict.value for one in await asyncio.gather(*map(verifier.image, images))]

    assert asyncio.run(work()) == ["FAILED", "VERIFIED"] * (count // 2)


def test_the_digest_is_that_of_all_documents_in_any_order() -> None:
    one, two = document("one"), document("two", require={"level": 2})
    written = {
        policy(*documents).digest for documents in ((one, two), (one,), (two,), (one, document("two")))
    }
    assert len(written) == 4
    first, second = (policy(each).documents[0] for each in (one, two))
    assert chains.Policy([first, second]).digest == chains.Policy([second, first]).digest


def test_a_key_set_that_changes_changes_the_digest_although_the_policy_does_not(tmp_path: Path) -> None:
    written = document(trust=[trust() | {"signer": {"keys": [{"ref": "keys.json"}]}}])
    (tmp_path / "policy.json").write_text(json.dumps(written))

    def loaded(**entry: str) -> chains.Policy:
        keys = [{"pem": public().pem.decode(), "keyid": public().keyid, **entry}]
        media = "application/vnd.provenance-chains.keyset.v1+json"
        (tmp_path / "keys.json").write_text(json.dumps({"mediaType": media, "keys": keys}))
        return chains.Policy.load(tmp_path / "policy.json")

    ends = {"notAfter": "2026-12-01T00:00:00Z"}
    found = [loaded(), loaded(status="revoked"), loaded(**ends), loaded(status="retired", **ends)]
    assert len({one.documents[0].policy.digest for one in found}) == 1
    assert len({one.digest for one in found}) == 4
    assert len({one.trust_digests for one in found}) == 4


def test_the_digest_says_which_signer_has_which_keys(tmp_path: Path) -> None:
    """A key that one signer loses may still be one of another signer."""
    written = document(
        trust=[trust() | {"signer": {"keys": [{"ref": "release.json"}]}}],
        signers=[{"predicateType": SCAI, "keys": [{"ref": "reports.json"}]}],
    )
    (tmp_path / "policy.json").write_text(json.dumps(written))

    def loaded(**sets: list[str]) -> chains.Policy:
        for name, signers in sets.items():
            keys = [{"pem": public(one).pem.decode(), "keyid": public(one).keyid} for one in signers]
            media = "application/vnd.provenance-chains.keyset.v1+json"
            (tmp_path / f"{name}.json").write_text(json.dumps({"mediaType": media, "keys": keys}))
        return chains.Policy.load(tmp_path / "policy.json")

    both = loaded(release=["first", "second"], reports=["first"])
    one = loaded(release=["second"], reports=["first"])
    swapped = loaded(release=["first"], reports=["second"])
    again = loaded(release=["second", "first"], reports=["first"])
    assert len({each.digest for each in (both, one, swapped)}) == 3
    assert again.digest == both.digest


def test_the_library_and_the_command_line_give_the_same_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    example = Path(__file__).parents[4] / "examples" / "taskrun-image.json"
    assert command(["attest", str(example)]) == 0
    pem = Path(".chains/signing.pub").read_text()
    entry = trust(builder="https://tekton.dev/chains/v2") | {"signer": {"keys": [{"pem": pem}]}}
    images = ["registry.example.com/**"]
    written = [
        document("one", images, trust=[entry], require={"hermetic": "enforced"}),
        document("two", images, trust=[entry], mode="audit"),
    ]
    Path("policy.yaml").write_text("\n---\n".join(map(json.dumps, written)))
    digest = "sha256:ce186a56c342a80bd2ec3ec4233810f49a93e5f60660922d3dad49cf6c987e35"
    image, store = f"registry.example.com/shop/storefront@{digest}", "oci-layout:.chains/layout"
    capsys.readouterr()
    options = ["--policy", "policy.yaml", "--store", store, "--output", "json"]
    code = command(["verify", *options, image])
    told = json.loads(capsys.readouterr().out)

    async def work() -> chains.ImageAnswer:
        loaded = chains.Policy.load("policy.yaml")
        async with chains.Verifier(policy=loaded, stores=[store]) as verifier:
            return await verifier.image(image)

    found = asyncio.run(work())
    assert found.exit_code == code
    same = [replace(one, verified_at=NOW) for one in found.verdicts]
    mine = chains.ImageAnswer(tuple(same)).to_json()
    moments = (mine.pop("verifiedAt"), *(other.pop("verifiedAt") for other in mine["otherPolicies"]))
    assert set(moments) == {"2026-10-05T09:00:00Z"}
    del told["verifiedAt"]
    for other in told["otherPolicies"]:
        del other["verifiedAt"]
    assert mine == told
    assert len(told["otherPolicies"]) == 1


def test_a_signer_of_another_policy_is_none_of_this_one() -> None:
    loaded = policy(document("ours"), document("theirs", trust=[trust("x", "second", builder=BUILDER)]))
    found = ask(loaded, Shelf(form_b(tekton(), signer("second"))))
    assert [(one.policy, one.verdict) for one in found.verdicts] == [
        ("ours", "FAILED"),
        ("theirs", "VERIFIED"),
    ]
