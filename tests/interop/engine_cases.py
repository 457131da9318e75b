"""Images with evidence for policies of all engines: one that is right, and twins of it that are not.

The right one was attested by the command line. A twin carries its evidence with a change, and is signed anew by a
key, in both forms: as an attacker who has that key, or none, would do it.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chains.cli.main import run as chains
from chains.statements.statement import SCAI
from signers.base import Signer
from signers.formats.dsse import sign_payload
from signers.keys.keyfile import open_keyfile
from tests.interop.attested import Attested, run_of
from tests.interop.test_admission import move_evidence
from tests.testbed.images import MANIFEST, Registry

Json = Any
PROVENANCE = "https://slsa.dev/provenance/v1"
PAYLOAD = "application/vnd.in-toto+json"
BUILDER = "https://tekton.dev/chains/v2"
NAME = "shop/app"
BUILD_TYPES = ["https://tekton.dev/chains/v2/slsa", "https://tekton.dev/chains/v2/slsa-tekton"]
SOURCE = "git+https://git.example.com/shop/storefront.git"


@dataclass(frozen=True)
class Case:
    """What a twin's evidence is like; ``admitted`` is what a policy that demands what is right has to say."""

    name: str
    change: Callable[[Json], None] | None = None
    """Changes the provenance; None leaves it as it is."""
    second: Callable[[Json], None] | None = None
    """Changes the provenance into a second one, which the image has too."""
    key: str = "right"
    admitted: bool = False
    tampered: bool = False
    """Whether the statement was signed before the change."""
    has_evidence: bool = True
    report: Callable[[Json], None] | None = None
    """Changes the execution report."""
    report_key: str = ""
    """Who signs the report, if it is not whoever signs the provenance."""
    repository: str = "shop/app"


def _at(*path: str | int, to: Json) -> Callable[[Json], None]:
    def change(statement: Json) -> None:
        place = statement["predicate"]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return change


def _without(*path: str) -> Callable[[Json], None]:
    def change(statement: Json) -> None:
        place = statement["predicate"]
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


def _type(name: str) -> Callable[[Json], None]:
    return lambda statement: statement.update(predicateType=name)


def _old(statement: Json) -> None:
    """The same provenance in the old format."""
    new = statement["predicate"]
    statement["predicateType"] = "https://slsa.dev/provenance/v0.2"
    statement["predicate"] = {
        "builder": new["runDetails"]["builder"],
        "buildType": new["buildDefinition"]["buildType"],
        "invocation": {"parameters": {}, "configSource": {}},
        "materials": [
            {"uri": one["uri"], "digest": one["digest"]}
            for one in new["buildDefinition"]["resolvedDependencies"]
            if one.get("name") == "inputs/result"
        ],
    }


def _source(uri: str) -> Callable[[Json], None]:
    def change(statement: Json) -> None:
        for one in statement["predicate"]["buildDefinition"]["resolvedDependencies"]:
            if one.get("name") == "inputs/result":
                one["uri"] = uri

    return change


def _second_source(statement: Json) -> None:
    listed = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    other = {
        "name": "inputs/result",
        "uri": "git+ssh://git.example.com/else/where",
        "digest": {"sha1": "b" * 40},
    }
    listed.append(other)


CASES = [
    Case("right", admitted=True),
    Case("no evidence", has_evidence=False),
    Case("other key", key="other"),
    Case("statement changed after signing", _at("runDetails", "builder", "id", to=BUILDER), tampered=True),
    Case("other builder", _at("runDetails", "builder", "id", to="https://example.com/else")),
    Case("no builder", _without("runDetails", "builder")),
    Case("builder of the other key", _at("runDetails", "builder", "id", to="https://example.com/second")),
    Case(
        "other key with its own builder",
        _at("runDetails", "builder", "id", to="https://example.com/second"),
        key="second",
        admitted=True,
    ),
    Case("other source", _source("git+https://git.example.com/shop/other.git")),
    Case(
        "source in another spelling",
        _source("https://user@GIT.example.com:443/shop/storefront.git/"),
        admitted=True,
    ),
    Case("source with a longer name", _source("git+https://git.example.com/shop/storefront-evil.git")),
    Case("a second source", _second_source),
    Case(
        "two statements that would be right only together",
        _at("runDetails", "builder", "id", to="https://example.com/else"),
        second=_source("git+https://git.example.com/shop/other.git"),
    ),
    Case("no source", _at("buildDefinition", "resolvedDependencies", to=[])),
    Case("other predicate type", _type("https://example.com/provenance/v1")),
    Case("other build type", _at("buildDefinition", "buildType", to="https://example.com/build")),
    Case("unknown external parameter", _at("buildDefinition", "externalParameters", "more", to="x")),
    Case("no external parameters", _without("buildDefinition", "externalParameters")),
    Case("provenance in the old format", _old, admitted=True),
    Case("image of another repository", has_evidence=False, repository="elsewhere/app", admitted=True),
]


def _report(**conditions: Json) -> Callable[[Json], None]:
    """A report of a hermetic run, with other values of the attributes that these names are in."""

    def change(statement: Json) -> None:
        told = {"level": "enforced", **conditions}
        for one in statement["predicate"]["attributes"]:
            if one["attribute"] in {"RUN_OUTCOME", "HERMETIC_LEVEL"}:
                one["conditions"].update({name: told[name] for name in told if name in one["conditions"]})
                one["target"]["name"] = told.get("target", one["target"]["name"])

    return change


def _attribute(name: str, **more: Json) -> Callable[[Json], None]:
    """A report of a hermetic run with a further attribute."""

    def change(statement: Json) -> None:
        _report()(statement)
        target = statement["predicate"]["attributes"][0]["target"]
        statement["predicate"]["attributes"].append({"attribute": name, "target": target, **more})

    return change


def _containers(*facts: tuple[str, Json], ran: tuple[str, ...] = ()) -> Callable[[Json], None]:
    """A report of a hermetic run that says of containers whether their images were named by digest."""

    def change(statement: Json) -> None:
        _report()(statement)
        told = [("CONTAINER_FACTS", name, {"imagePinned": value}) for name, value in facts]
        told += [("HERMETIC_EXECUTION", name, {}) for name in ran]
        attributes = statement["predicate"]["attributes"]
        names = {"CONTAINER_FACTS", "HERMETIC_EXECUTION"}
        attributes[:] = [one for one in attributes if one["attribute"] not in names]
        attributes += [
            {"attribute": name, "target": {"name": target}, "conditions": value}
            for name, target, value in told
        ]

    return change


PIN_CASES = [
    Case(
        "every image by digest",
        report=_containers(("step/a", True), ("sidecar/b", True), ("other", False), ran=("step/a",)),
        admitted=True,
    ),
    Case("one image by tag", report=_containers(("step/a", True), ("step/b", False))),
    Case("one image twice, once by tag", report=_containers(("step/a", True), ("step/a", False))),
    Case("a pin that is no truth value", report=_containers(("step/a", "true"))),
    Case("a step of which nothing is said", report=_containers(("step/a", True), ran=("step/a", "step/b"))),
    Case("nothing said of containers", report=_containers()),
]
REPORT_CASES = [
    Case("report of a hermetic run", report=_report(), admitted=True),
    Case("run that was not hermetic", report=_report(level="partly")),
    Case(
        "report that says the level twice",
        report=_attribute("HERMETIC_LEVEL", conditions={"level": "enforced"}),
    ),
    Case("report of another run", report=_report(uid="another")),
    Case("report by another trusted key", report=_report(), report_key="second"),
    Case("run that failed", report=_report(outcome="failed")),
    Case("run in another namespace", report=_report(target="taskrun/dev/build")),
    Case("run whose namespace is empty", report=_report(target="taskrun//build")),
    Case("report with a rejected hint", report=_attribute("HINT_REJECTED", conditions={})),
    Case("report without attributes", report=_at("attributes", to=[])),
    Case(
        "provenance without its run's UID",
        _at("runDetails", "metadata", "invocationId", to=""),
        report=_report(uid=""),
    ),
]


def _brought(
    resolver: Json = "git", digest: Json = None, kind: str = "task", more: Json = ()
) -> Callable[[Json], None]:
    """Provenance of a run whose task or pipeline a resolver brought, with further dependencies."""

    def change(statement: Json) -> None:
        definition = statement["predicate"]["buildDefinition"]
        definition["externalParameters"] = {"runSpec": {f"{kind}Ref": {"resolver": resolver}}}
        own = {"name": kind, "uri": "git+https://git.example.com/catalog", "digest": {"sha1": "c" * 40}}
        definition["resolvedDependencies"] += [own if digest is None else own | {"digest": digest}, *more]

    return change


_LOOSE = {"name": "pipelineTask", "uri": "oci://registry.example.com/task"}
TASK_CASES = [
    Case("task by a listed resolver", _brought(), admitted=True),
    Case("pipeline by a listed resolver", _brought(kind="pipeline"), admitted=True),
    Case(
        "pipeline with a pinned task", _brought(more=[{**_LOOSE, "digest": {"sha256": "00"}}]), admitted=True
    ),
    Case("task by another resolver", _brought("http")),
    Case("task by a resolver of no name", _brought("")),
    Case("task by a resolver that is no text", _brought(["git"])),
    Case("task without digest", _brought(digest={})),
    Case("two tasks", _brought(more=[{"name": "task", "digest": {"sha1": "c" * 40}}])),
    Case("task of the cluster"),
    Case("task in the old format", _old),
    Case("pipeline whose task has no digest", _brought(kind="pipeline", more=[_LOOSE])),
    Case(
        "pipeline whose task has an empty digest", _brought(kind="pipeline", more=[{**_LOOSE, "digest": {}}])
    ),
]
HOSTILE = "https://example.com/a?b='\"`\\\\{{request.object}}$(../name)${x}#*]])//%{é\U0001d11e"
"""A value that means something in YAML, Rego, CEL, JMESPath, or in what Kyverno replaces before."""
LINES = 'first\n---\nsecond: "{{ x }}"\t\u2028'


MAPPING = {"k'": [True, "{{x}}", 7, {}, None]}


def _hostile(
    builder: str = HOSTILE, name: str = LINES, value: str = LINES, inner: Json = (LINES, None)
) -> Callable[[Json], None]:
    def change(statement: Json) -> None:
        predicate = statement["predicate"]
        predicate["runDetails"]["builder"]["id"] = builder
        predicate["buildDefinition"]["buildType"] = HOSTILE
        predicate["buildDefinition"]["externalParameters"] = {name: value, "{{x}}": {"a.b": inner}}

    return change


HOSTILE_CASES = [
    Case("hostile values as the policy has them", _hostile(), admitted=True),
    Case("hostile builder with another ending", _hostile(builder=HOSTILE + "x")),
    Case("hostile builder with its wildcard filled", _hostile(builder=HOSTILE.replace("*", "zz"))),
    Case(
        "hostile builder with its variable gone", _hostile(builder=HOSTILE.replace("{{request.object}}", ""))
    ),
    Case("hostile name without its line", _hostile(name="first")),
    Case("hostile value without its line", _hostile(value="first")),
    Case("a mapping in the list of values", _hostile(inner=MAPPING), admitted=True),
    Case("another mapping", _hostile(inner={**MAPPING, "more": 1})),
]


@dataclass(frozen=True)
class Images:
    """The image of each case by name, and the public keys."""

    registry: Registry
    references: dict[str, str]
    keys: dict[str, str]

    def hostile_policy(self) -> Json:
        """Return a policy of ours that demands the hostile values."""
        policy = self.policy()
        policy["spec"]["trust"][0]["builderId"] = HOSTILE
        policy["spec"]["require"] = {
            "buildTypes": [HOSTILE],
            "externalParameters": {LINES: [LINES, "other"], "{{x}}": {"a.b": [[LINES, None], MAPPING]}},
        }
        return policy

    def policy(self, **require: Json) -> Json:
        """Return a policy of ours for these images."""

        def trust(name: str, builder: str) -> Json:
            signer = {"keys": [{"pem": self.keys[name]}]}
            return {"name": name, "signer": signer, "builderId": builder, "maxLevel": 2}

        spec = {
            "match": {"images": [f"{self.registry.host}/shop/*"]},
            "trust": [trust("right", BUILDER), trust("second", "https://example.com/second")],
            "require": {"level": 2, "sources": [SOURCE], "buildTypes": BUILD_TYPES, **require},
        }
        return {
            "apiVersion": "provenance.chains/v1",
            "kind": "Policy",
            "metadata": {"name": "agreement"},
            "spec": spec,
        }


def _changed(case: Case, signers: dict[str, Signer], twin: str) -> Callable[[Json], None]:
    """Return what changes an envelope, or a bundle with one, into that of the case about its twin."""

    def change(content: Json) -> None:
        envelope = content.get("dsseEnvelope", content)
        statement = json.loads(b64decode(envelope["payload"]))
        is_report = statement["predicateType"] == SCAI
        signer = signers[(case.report_key if is_report else "") or case.key]
        if case.tampered:
            other = json.loads(json.dumps(statement))
            other["predicate"]["tampered"] = True
            envelope["signatures"] = _signatures(other, signer)
        for one in statement["subject"]:
            one["digest"] = {"sha256": twin.removeprefix("sha256:")}
        if case.change is not None and statement["predicateType"] == PROVENANCE:
            case.change(statement)
        if case.report is not None and is_report:
            case.report(statement)
        envelope["payload"] = b64encode(json.dumps(statement).encode()).decode()
        if not case.tampered:
            envelope["signatures"] = _signatures(statement, signer)
        if "verificationMaterial" in content:
            content["verificationMaterial"]["publicKey"]["hint"] = signer.keyid

    return change


def _add_second(registry: Registry, attested: Attested, twin: str, change: Callable[[Json], None]) -> None:
    """Give an image the evidence once more with another change, beside what it has."""
    tag = f"sha256-{twin.removeprefix('sha256:')}.att"
    first = json.loads(registry.manifest(NAME, tag))
    move_evidence(registry, NAME, attested, twin, change)
    both = json.loads(registry.manifest(NAME, tag))
    both["layers"] = first["layers"] + both["layers"]
    registry.push_manifest(NAME, json.dumps(both).encode(), MANIFEST, tag)


def _signatures(statement: Json, signer: Signer) -> Json:
    made = sign_payload(signer, json.dumps(statement).encode(), PAYLOAD)
    return json.loads(made.to_bytes())["signatures"]


def make_images(registry: Registry, folder: Path, cases: list[Case]) -> Images:
    """Attest an image, and give its changed evidence to a twin for each case."""
    signers: dict[str, Signer] = {}
    for name in ("right", "other", "second"):
        assert chains(["keys", "generate", str(folder / f"{name}.key")]) == 0
        signers[name] = open_keyfile(str(folder / f"{name}.key"))
    digest = registry.push_image(NAME)
    run = run_of(f"{registry.host}/{NAME}", digest)
    for key, value in (("CHAINS-GIT_URL", SOURCE), ("CHAINS-GIT_COMMIT", "a" * 40)):
        run["status"]["results"].append({"name": key, "type": "string", "value": value})
    (folder / "run.json").write_text(json.dumps(run))
    config = {"artifacts.taskrun.format": "slsa/v2alpha4", "storage.oci.encoding-format": "both"}
    (folder / "config.json").write_text(json.dumps(config | {"artifacts.taskrun.storage": "oci"}))
    options = ["--config", folder / "config.json", "--key", folder / "right.key", "--store", "oci:"]
    assert chains(["attest", str(folder / "run.json"), *map(str, options)]) == 0
    attested = Attested(
        f"{registry.host}/{NAME}@{digest}", NAME, digest, folder / "right.pub", folder, folder
    )
    references = {}
    for case in cases:
        twin = registry.push_image(case.repository, content=case.name.encode())
        if case.has_evidence:
            move_evidence(registry, NAME, attested, twin, _changed(case, signers, twin))
        if case.second is not None:
            _add_second(registry, attested, twin, _changed(replace(case, change=case.second), signers, twin))
        references[case.name] = f"{registry.host}/{case.repository}@{twin}"
    keys = {name: (folder / f"{name}.pub").read_text() for name in signers}
    return Images(registry, references, keys)
