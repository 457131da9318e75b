"""Admission engines admit by our Verification Summaries, by rules of their own, and refuse each tampered twin."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chains.cli.main import run as chains
from tests.integration.test_testbed_admission import manifest
from tests.interop.attested import Attested, attest_image
from tests.interop.test_admission import leave, move_evidence
from tests.testbed.admission import Decision, Kyverno, PolicyTester
from tests.testbed.images import Registry

pytestmark = pytest.mark.server
Json = Any
VSA = "https://slsa.dev/verification_summary/v1"
VERIFIER = "https://security.example.com/verifier"
URI = "https://security.example.com/policies/production"
LEVEL = "SLSA_BUILD_LEVEL_2"
ENGINES = ("policy-controller", "kyverno-cosign", "kyverno-bundle", "kyverno-cel")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a consumer demands of a summary: its key, and what it says."""

    key: str
    place: str
    digest: str
    verifier: str = VERIFIER
    result: str = "PASSED"

    @property
    def texts(self) -> dict[str, str]:
        """The texts that the predicate has to have, by their path."""
        return {
            "verifier.id": self.verifier,
            "resourceUri": self.place,
            "policy.uri": URI,
            "policy.digest.sha256": self.digest,
            "verificationResult": self.result,
        }


def by_policy_controller(asked: Asked) -> str:
    conditions = [f"input.predicate.{path} == {json.dumps(text)}" for path, text in asked.texts.items()]
    conditions.append(f'"{LEVEL}" in input.predicate.verifiedLevels')
    body = "\n".join(f"    {one}" for one in conditions)
    data = f"package sigstore\n\nimport rego.v1\n\ndefault isCompliant := false\n\nisCompliant if {{\n{body}\n}}\n"
    attestation = {"name": "vsa", "predicateType": VSA, "policy": {"type": "rego", "data": data}}
    authority = {"name": "verifier", "key": {"data": asked.key}, "attestations": [attestation]}
    spec = {"images": [{"glob": "127.0.0.1:*/**"}], "authorities": [authority]}
    return manifest("policy.sigstore.dev/v1beta1", "ClusterImagePolicy", spec)


def by_kyverno(form: str, asked: Asked) -> str:
    conditions = [
        {"key": f"{{{{ {path} }}}}", "operator": "Equals", "value": text}
        for path, text in asked.texts.items()
    ]
    conditions.append({"key": LEVEL, "operator": "AnyIn", "value": "{{ verifiedLevels }}"})
    keys = {"publicKeys": asked.key, "rekor": {"ignoreTlog": True}, "ctlog": {"ignoreSCT": True}}
    attestation = {
        "type": VSA,
        "attestors": [{"entries": [{"keys": keys}]}],
        "conditions": [{"all": conditions}],
    }
    verify = {
        "type": form,
        "imageReferences": ["127.0.0.1:*/*"],
        "failureAction": "Enforce",
        "mutateDigest": False,
        "attestations": [attestation],
    }
    pods = {"any": [{"resources": {"kinds": ["Pod"]}}]}
    rule = {"name": "vsa", "match": pods, "verifyImages": [verify]}
    spec = {"background": False, "webhookConfiguration": {"failurePolicy": "Fail"}, "rules": [rule]}
    return manifest("kyverno.io/v1", "ClusterPolicy", spec)


def by_kyverno_cel(asked: Asked) -> str:
    images, payload = "images.containers", "extractPayload(i, attestations.vsa).predicate"
    expressions = [
        f"{images}.map(i, verifyAttestationSignatures(i, attestations.vsa, [attestors.key])).all(n, n > 0)"
    ]
    expressions += [
        f"{images}.map(i, {payload}.{path}).all(text, text == {json.dumps(text)})"
        for path, text in asked.texts.items()
    ]
    expressions.append(f'{images}.map(i, {payload}.verifiedLevels).all(one, "{LEVEL}" in one)')
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "operations": ["CREATE"]}
    no_log = {"insecureIgnoreTlog": True, "insecureIgnoreSCT": True}
    spec = {
        "validationActions": ["Deny"],
        "matchConstraints": {"resourceRules": [pods]},
        "matchImageReferences": [{"glob": "127.0.0.1:*/*"}],
        "credentials": {"allowInsecureRegistry": True},
        "attestors": [{"name": "key", "cosign": {"key": {"data": asked.key}, "ctlog": no_log}}],
        "attestations": [{"name": "vsa", "intoto": {"type": VSA}}],
        "validationConfigurations": {"mutateDigest": False, "required": True, "verifyDigest": True},
        "validations": [{"expression": one, "message": one} for one in expressions],
    }
    return manifest("policies.kyverno.io/v1", "ImageValidatingPolicy", spec)


@dataclass(frozen=True, slots=True)
class Summarised:
    """Images with a summary each, and twins that must not pass; all by one verifier's key."""

    folder: Path
    good: Attested
    digests: dict[str, str]
    """The digest of the policy that was verified, by the image's reference."""
    other_verifier: Attested
    failed: Attested
    refused: Attested
    """Passed once, and failed later."""
    recovered: Attested
    """Failed once, and passed later."""
    moved: str
    changed: str

    @property
    def key(self) -> str:
        """The verifier's public key."""
        return (self.folder / "vsa.pub").read_text()

    @property
    def other_key(self) -> str:
        """A key that signed nothing."""
        return (self.folder / "other.pub").read_text()

    def asked(self, reference: str, **other: str) -> Asked:
        """Return what a consumer demands of the image."""
        return Asked(**{"key": self.key, "place": reference, "digest": self.digests[reference]} | other)


def summarise(attested: Attested, folder: Path, *, verifier: str = VERIFIER, level: int = 2) -> str:
    """Let the command line sign what a policy says about an image; return the policy's digest."""
    key = {"pem": attested.public_key.read_text()}
    entry = {
        "name": "t",
        "signer": {"keys": [key]},
        "builderId": "https://tekton.dev/chains/v2",
        "maxLevel": 2,
    }
    policy = {
        "apiVersion": "provenance.chains/v1",
        "kind": "Policy",
        "metadata": {"name": "interop"},
        "spec": {
            "match": {"images": [attested.repository]},
            "trust": [entry],
            "require": {"level": level},
        },
    }
    path = attested.run_file.with_name("policy.json")
    path.write_text(json.dumps(policy))
    config = ["--config", str(attested.run_file.with_name("config.json"))]
    attest = ["--attest-vsa", "--attest-failures", "--vsa-key", str(folder / "vsa.key")]
    names = ["--verifier-id", verifier, "--policy-uri", URI]
    code = chains(["verify", "--policy", str(path), *config, *attest, *names, attested.reference])
    assert code == (0 if level <= 2 else 1)
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def summarised(referrers_registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Summarised:
    folder = tmp_path_factory.mktemp("summaries")
    for name in ("vsa", "other"):
        assert chains(["keys", "generate", str(folder / f"{name}.key")]) == 0
    names = ("summary-good", "summary-other", "summary-failed", "summary-refused", "summary-recovered")
    good, other, failed, refused, recovered = (
        attest_image(referrers_registry, folder / name, name) for name in names
    )
    summarise(recovered, folder, level=3)
    digests = {
        good.reference: summarise(good, folder),
        other.reference: summarise(other, folder, verifier=VERIFIER + "/other"),
        failed.reference: summarise(failed, folder, level=3),
        refused.reference: summarise(refused, folder),
        recovered.reference: summarise(recovered, folder),
    }
    summarise(refused, folder, level=3)
    twins = []
    for number in range(2):
        twin = referrers_registry.push_image("summary-good", content=f"twin {number}".encode())

        def rename(content: Json, hexdigest: str = twin.removeprefix("sha256:")) -> None:
            envelope = content.get("dsseEnvelope", content)
            statement = json.loads(base64.b64decode(envelope["payload"]))
            statement["subject"][0]["digest"]["sha256"] = hexdigest
            if statement["predicateType"] == VSA:
                statement["predicate"]["resourceUri"] = f"{good.repository}@sha256:{hexdigest}"
            envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()

        move_evidence(referrers_registry, "summary-good", good, twin, leave if number == 0 else rename)
        twins.append(f"{good.repository}@{twin}")
        digests[twins[-1]] = digests[good.reference]
    return Summarised(folder, good, digests, other, failed, refused, recovered, *twins)


@pytest.fixture
def admits(request: pytest.FixtureRequest) -> Callable[[str], Callable[[Asked, str], Decision]]:
    def choose(engine: str) -> Callable[[Asked, str], Decision]:
        if engine == "policy-controller":
            tester: PolicyTester = request.getfixturevalue("policy_tester")
            return lambda asked, image: tester.admit(by_policy_controller(asked), image)
        kyverno: Kyverno = request.getfixturevalue("kyverno")
        if engine == "kyverno-cel":
            return lambda asked, image: kyverno.admit(by_kyverno_cel(asked), image)
        form = {"kyverno-cosign": "Cosign", "kyverno-bundle": "SigstoreBundle"}[engine]
        return lambda asked, image: kyverno.admit(by_kyverno(form, asked), image)

    return choose


@pytest.mark.parametrize("engine", ENGINES)
def test_an_image_is_admitted_by_its_summary_and_no_twin_is(
    summarised: Summarised, admits: Callable[[str], Callable[[Asked, str], Decision]], engine: str
) -> None:
    ask, good = admits(engine), summarised.good.reference
    decision = ask(summarised.asked(good), good)
    assert decision.admitted, decision.reason
    # what the statement says decides: each engine reads every member that a consumer must compare
    for other in (
        {"key": summarised.other_key},
        {"key": summarised.good.public_key.read_text()},
        {"verifier": VERIFIER + "/other"},
        {"place": good.replace("summary-good", "summary-mirror")},
        {"digest": "0" * 64},
    ):
        assert not ask(summarised.asked(good, **other), good).admitted, other
    # summaries that our verifier signed: by another id, about a failure
    for signed in (summarised.other_verifier.reference, summarised.failed.reference):
        assert not ask(summarised.asked(signed), signed).admitted, signed
    # the summary beside another image, as it is and changed to be about it
    assert not ask(summarised.asked(summarised.moved, place=good), summarised.moved).admitted
    assert not ask(summarised.asked(summarised.changed), summarised.changed).admitted


@pytest.mark.parametrize("engine", ENGINES)
def test_the_summaries_of_the_twins_are_read_and_say_something_else(
    summarised: Summarised, admits: Callable[[str], Callable[[Asked, str], Decision]], engine: str
) -> None:
    """What refuses the twins is what they say, and not that nothing was found."""
    ask, other = admits(engine), summarised.other_verifier.reference
    decision = ask(summarised.asked(other, verifier=VERIFIER + "/other"), other)
    assert decision.admitted, decision.reason


@pytest.mark.parametrize("engine", ["policy-controller", "kyverno-cosign", "kyverno-bundle"])
def test_a_passed_summary_beside_a_failed_one_is_judged_as_the_page_says(
    summarised: Summarised, admits: Callable[[str], Callable[[Asked, str], Decision]], engine: str
) -> None:
    """policy-controller needs one that fits; Kyverno's ClusterPolicy needs all by that key to fit.

    Kyverno's policies in CEL read one of them, which depends on the order in which the registry lists them.
    """
    for reference in (summarised.refused.reference, summarised.recovered.reference):
        decision = admits(engine)(summarised.asked(reference), reference)
        assert decision.admitted is (engine == "policy-controller"), decision.reason


def test_our_own_policy_decides_about_all_of_them_in_the_same_way(summarised: Summarised) -> None:
    key = {"pem": summarised.key}
    for reference, expected in (
        (summarised.good.reference, 0),
        (summarised.other_verifier.reference, 1),
        (summarised.failed.reference, 1),
        (summarised.refused.reference, 1),
        (summarised.moved, 1),
        (summarised.changed, 1),
    ):
        digest = f"sha256:{summarised.digests[reference]}"
        entry = {
            "name": "security",
            "signer": {"keys": [key]},
            "verifierId": VERIFIER,
            "policy": {"uri": URI, "digest": digest},
            "maxLevel": 3,
        }
        policy = {
            "apiVersion": "provenance.chains/v1",
            "kind": "Policy",
            "metadata": {"name": "door"},
            "spec": {
                "match": {"images": [reference.partition("@")[0]]},
                "accept": {"vsa": [entry]},
                "require": {"level": 2},
            },
        }
        path = summarised.folder / "door.json"
        path.write_text(json.dumps(policy))
        config = str(summarised.good.run_file.with_name("config.json"))
        assert chains(["verify", "--policy", str(path), "--config", config, reference]) == expected
