from __future__ import annotations

import pytest

from chains.config.keys import KEYS, RENAMED
from chains.config.parse import lint_config, parse_config
from chains.errors import ConfigError

DURABLE = {"artifacts.taskrun.storage": "oci", "artifacts.pipelinerun.storage": "oci"}
KMS = {**DURABLE, "artifacts.taskrun.signer": "kms", "signers.kms.kmsref": "hashivault://key"}
FULCIO = {**DURABLE, "signers.x509.fulcio.enabled": "true", "transparency.enabled": "true"}
FULCIO |= {"transparency.url": "https://rekor.example"}
AUTH = "signers.kms.auth."
MONGO = "storage.docdb.mongo-server-url"
DOCDB = {
    **DURABLE,
    "artifacts.oci.storage": "docdb",
    "storage.docdb.url": "mongo://db/collection?id_field=name",
}
KAFKA = {**DURABLE, "artifacts.oci.storage": "kafka", "storage.pubsub.provider": "kafka"}
KAFKA |= {"storage.pubsub.topic": "t", "storage.pubsub.kafka.bootstrap.servers": "k:9092"}


@pytest.mark.parametrize(
    "data",
    [
        DURABLE,
        {**DURABLE, "artifacts.taskrun.format": "slsa/v2alpha4", "storage.oci.encoding-format": "both"},
        {**DURABLE, "artifacts.oci.signer": "none", "artifacts.oci.storage": "oci"},
        {**DURABLE, "storage.oci.repository": "ghcr.io/acme/evidence", "storage.oci.ca-file": "/etc/ca.pem"},
        {**DURABLE, "artifacts.taskrun.storage": "", "artifacts.pipelinerun.storage": "tekton,oci"},
        KMS,
        {**KMS, AUTH + "address": "https://vault:8200", AUTH + "oidc.path": "jwt", AUTH + "oidc.role": "r"},
        {**KMS, AUTH + "spire.sock": "unix:///run/agent.sock", AUTH + "spire.audience": "vault"},
        {**KMS, AUTH + "token-path": "/etc/token"},
        {**KMS, "signers.kms.kmsref": "awskms:///alias/chains"},
        {**KMS, "signers.kms.kmsref": "pkcs11:token=chains;object=signing"},
        FULCIO,
        {**FULCIO, "signers.x509.identity.token.file": "/var/run/token"},
        {**DOCDB, f"{MONGO}-path": "/etc/mongo"},
        {
            **DURABLE,
            **{name: key.default for name, key in KEYS.items() if key.default and name not in DURABLE},
        },
    ],
)
def test_a_good_configuration_has_no_problems(data: dict[str, str]) -> None:
    assert lint_config(data) == []


CASES = [
    # unknown keys
    ("artifacts.taskrun.fromat", {"artifacts.taskrun.fromat": "in-toto"}, "error", "unknown key"),
    ("Builder.ID", {"Builder.ID": "x"}, "error", "unknown key"),
    ("backlog.since", {"backlog.since": "last week"}, "error", "an age such as 36h"),
    ("backlog.rate", {"backlog.rate": "-1"}, "error", "a number that is not negative"),
    ("filter.labels", {"filter.labels": "team in (a,b"}, "error", "a label selector"),
    # values that chains swallows
    ("transparency.enabled", {**DURABLE, "transparency.enabled": "True"}, "error", "so the value is false"),
    ("storage.oci.repository.insecure", {"storage.oci.repository.insecure": "yes"}, "error", "ignores it"),
    # free texts that cannot be right
    ("builder.id", {"builder.id": ""}, "error", "a builder"),
    ("builder.id", {"builder.id": "my builder"}, "warning", "expected a URI"),
    ("storage.gcs.bucket", {"storage.gcs.bucket": "evidence\n"}, "error", "white space"),
    ("transparency.url", {"transparency.url": ""}, "error", "expected https://"),
    ("transparency.url", {"transparency.url": "rekor.example"}, "error", "expected https://"),
    ("transparency.url", {"transparency.url": "https://"}, "error", "expected https://"),
    ("transparency.url", {"transparency.url": "https://h:99999"}, "error", "expected https://"),
    ("transparency.url", {"transparency.url": "http://[", "transparency.enabled": "true"}, "error", "expected"),
    ("signers.kms.kmsref", {**KMS, "signers.kms.kmsref": "k8s://ns/key"}, "error", "gcpkms://"),
    ("storage.oci.ca-file", {"storage.oci.ca-file": "ca.pem"}, "warning", "absolute path"),
    ("storage.oci.repository", {"storage.oci.repository": "https://ghcr.io/a"}, "error", "registry/repository"),
    ("storage.oci.repository", {"storage.oci.repository": "ghcr.io/a/b:tag"}, "error", "without tag"),
    ("storage.grafeas.noteid", {"storage.grafeas.noteid": "a note"}, "error", "without spaces"),
    # artifacts
    ("artifacts.taskrun.signer", {"artifacts.taskrun.signer": "none"}, "warning", "without evidence"),
    ("artifacts", dict.fromkeys([f"artifacts.{name}.storage" for name in ("taskrun", "pipelinerun", "oci")], ""),
     "warning", "nothing is attested"),
    ("artifacts.taskrun.storage", {}, "warning", "deleted with the run"),
    ("artifacts.oci.storage", {"artifacts.oci.storage": "tekton"}, "warning", "deleted with the run"),
    ("artifacts.taskrun.format", {"artifacts.taskrun.format": "slsa/v1"}, "warning", "SLSA v0.2"),
    ("artifacts.taskrun.format",
     {"artifacts.taskrun.storage": "", "artifacts.taskrun.format": "slsa/v2alpha4"}, "warning", "are disabled"),
    ("artifacts.pipelinerun.enable-deep-inspection",
     {"artifacts.pipelinerun.storage": "", "artifacts.pipelinerun.enable-deep-inspection": "true"},
     "warning", "are disabled"),
    ("builddefinition.buildtype", {"builddefinition.buildtype": "https://tekton.dev/chains/v2/slsa-tekton"},
     "warning", "only slsa/v2alpha3"),
    # stores
    ("storage.gcs.bucket", {"artifacts.oci.storage": "gcs"}, "error", "is missing, but artifacts.oci.storage"),
    ("storage.docdb.url", {"artifacts.taskrun.storage": "oci,docdb"}, "error", "is missing"),
    ("storage.grafeas.projectid", {"artifacts.taskrun.storage": "grafeas"}, "error", "is missing"),
    ("storage.archivista.url", {"artifacts.taskrun.storage": "archivista"}, "error", "is missing"),
    ("storage.pubsub.provider", {"artifacts.taskrun.storage": "kafka"}, "error", "is missing"),
    ("storage.pubsub.topic", {"artifacts.taskrun.storage": "kafka"}, "error", "is missing"),
    ("storage.pubsub.kafka.bootstrap.servers", {"artifacts.oci.storage": "kafka"}, "error", "is missing"),
    ("storage.pubsub.provider", {**KAFKA, "storage.pubsub.provider": "inmemory"}, "error", "keeps nothing"),
    ("artifacts", KAFKA, "warning", "every run fails there"),
    ("artifacts.oci.storage", {"artifacts.oci.storage": "archivista"}, "warning", "stores only envelopes"),
    ("storage.gcs.bucket", {"storage.gcs.bucket": "b"}, "warning", "stored in gcs"),
    (MONGO, {**DOCDB, MONGO: "mongodb://u:p@h/d"}, "warning", "mount a Secret"),
    (MONGO, {**DOCDB, MONGO: "mongodb://h/d", f"{MONGO}-dir": "/d"}, "warning", f"{MONGO}-dir overrides it"),
    (f"{MONGO}-dir", {**DOCDB, f"{MONGO}-path": "/p", f"{MONGO}-dir": "/d"}, "warning", f"{MONGO}-path overrides it"),
    (f"{MONGO}-path", {**DOCDB, f"{MONGO}-path": "/p", "storage.docdb.url": "firestore://x"}, "warning", "mongo://"),
    ("storage.docdb.url", DOCDB, "warning", "MONGO_SERVER_URL"),
    # registries
    ("storage.oci.repository.insecure", {"storage.oci.repository.insecure": "1"}, "warning", "private CA"),
    ("storage.oci.ca-file", {"storage.oci.repository.insecure": "1", "storage.oci.ca-file": "/c"}, "warning", "no effect"),
    ("storage.oci.repository",
     {"storage.oci.repository": "r.io/a", "storage.oci.encoding-format": "sigstore-bundle"}, "warning", "no effect"),
    ("storage.oci.repository",
     {"storage.oci.repository": "r.io/a", "storage.oci.encoding-format": "both"}, "warning", "only the tags"),
    # signer kms
    ("signers.kms.kmsref", {"artifacts.oci.signer": "kms"}, "error", "is missing, but artifacts.oci.signer is kms"),
    ("signers.kms.kmsref", {"signers.kms.kmsref": "hashivault://k"}, "warning", "signer kms"),
    (AUTH + "token", {**KMS, AUTH + "token": "t"}, "warning", "mount a Secret"),
    (AUTH + "token", {**KMS, AUTH + "token": "t", AUTH + "token-path": "/t"}, "warning", "token-path overrides it"),
    (AUTH + "oidc.role", {**KMS, AUTH + "oidc.path": "jwt"}, "error", "needs both"),
    (AUTH + "oidc.path", {**KMS, AUTH + "oidc.role": "r"}, "error", "needs both"),
    (AUTH + "oidc.path", {**KMS, AUTH + "oidc.path": "jwt", AUTH + "token-path": "/t"}, "warning", "no effect"),
    (AUTH + "oidc.token-path", {**KMS, AUTH + "oidc.token-path": "/t"}, "warning", "without"),
    (AUTH + "spire.audience", {**KMS, AUTH + "spire.sock": "unix:///s"}, "error", "is missing"),
    (AUTH + "spire.audience", {**KMS, AUTH + "spire.audience": "a"}, "warning", "without"),
    (AUTH + "oidc.token-path",
     {**KMS, AUTH + "spire.sock": "unix:///s", AUTH + "oidc.token-path": "/t"}, "warning", "spire.sock overrides it"),
    (AUTH + "address",
     {**KMS, "signers.kms.kmsref": "gcpkms://p", AUTH + "address": "https://v"}, "warning", "the key is gcpkms:"),
    (AUTH + "address", {**KMS, AUTH + "address": "http://vault"}, "warning", "plain http"),
    (AUTH + "address", {**KMS, AUTH + "address": "vault:8200"}, "error", "expected https://"),
    # signer x509 and the log
    ("signers.x509.fulcio.enabled", {**FULCIO, "transparency.enabled": "false"}, "error", "transparency log"),
    ("signers.x509.fulcio.enabled", {**FULCIO, "transparency.enabled": "manual"}, "warning", "transparency log"),
    ("signers.x509.fulcio.provider", {**FULCIO, "signers.x509.fulcio.provider": "google"}, "error", "expected one"),
    ("signers.x509.fulcio.address", {**FULCIO, "signers.x509.fulcio.address": "http://f"}, "warning", "plain http"),
    ("signers.x509.tuf.mirror.url", {**FULCIO, "signers.x509.tuf.mirror.url": "http://f"}, "warning", "plain http"),
    ("signers.x509.fulcio.issuer", {"signers.x509.fulcio.issuer": "https://i"}, "warning", "enabled is false"),
    ("signers.x509.fulcio.enabled",
     {f"artifacts.{name}.signer": "kms" for name in ("taskrun", "pipelinerun", "oci")} | FULCIO,
     "warning", "signer x509"),
    ("signers.x509.identity.token.file",
     {**FULCIO, "signers.x509.identity.token.file": "/t", "signers.x509.fulcio.provider": "spiffe"},
     "warning", "no effect"),
    ("storage.oci.attach-to-platforms",
     {"artifacts.taskrun.storage": "s3", "artifacts.pipelinerun.storage": "s3", "artifacts.oci.storage": "s3",
      "storage.s3.bucket": "evidence", "storage.oci.attach-to-platforms": "true"}, "error", "needs the store oci"),
    ("transparency.enabled", {"transparency.enabled": "manual"}, "warning", "removes the annotation"),
    ("transparency.url", {"transparency.enabled": "true"}, "warning", "public for ever"),
    ("transparency.url", {"transparency.url": "https://rekor.example"}, "warning", "enabled is false"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "data", "severity", "words"), CASES)
def test_it_finds(key: str, data: dict[str, str], severity: str, words: str) -> None:
    found = [problem for problem in lint_config(data) if problem.key == key and words in problem.message]
    assert [problem.severity for problem in found] == [severity], lint_config(data)


@pytest.mark.parametrize(("key", "data", "severity", "words"), CASES)
def test_no_problem_is_told_twice_and_errors_come_first(
    key: str, data: dict[str, str], severity: str, words: str
) -> None:
    found = lint_config(data)
    assert len(set(found)) == len(found)
    severities = [problem.severity for problem in found]
    assert severities == sorted(severities)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("artifacts.taskrun.formatt", "artifacts.taskrun.format"),
        ("ARTIFACTS.OCI.STORAGE", "artifacts.oci.storage"),
        ("storage.oci.encodingformat", "storage.oci.encoding-format"),
        ("transparency.enable", "transparency.enabled"),
        ("something.else", ""),
        *RENAMED.items(),
    ],
)
def test_an_unknown_key_comes_with_the_nearest_known_one(name: str, meant: str) -> None:
    assert [problem.suggestion for problem in lint_config({**DURABLE, name: "x"})] == [meant]


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("artifacts.taskrun.format", "tekton", "in-toto"),
        ("artifacts.taskrun.format", "slsa/v2alpha1", "slsa/v2alpha3"),
        ("artifacts.taskrun.format", "slsa/v1.0", "slsa/v2alpha4"),
        ("artifacts.taskrun.signer", "X509 ", "x509"),
        ("artifacts.taskrun.storage", "oci,pubsub", "kafka"),
        ("artifacts.pipelinerun.storage", "OCI", "oci"),
        ("storage.oci.repository.insecure", "on", "true"),
        ("transparency.enabled", "FALSE", "false"),
        ("signers.x509.fulcio.provider", "github", "github-actions"),
        ("artifacts.oci.signer", "????", ""),
    ],
)
def test_a_wrong_value_comes_with_the_one_that_was_meant(name: str, value: str, meant: str) -> None:
    assert [problem.suggestion for problem in lint_config({name: value}) if problem.severity == "error"] == [
        meant
    ]


def test_a_template_of_the_repository_is_checked_by_lint_and_parser() -> None:
    name = "storage.oci.repository"
    good = {name: "reg.example/evidence/{namespace}", "storage.oci.bundles-in-repository": "true"}
    assert not [problem for problem in lint_config(good) if problem.key.startswith("storage.oci")]
    assert parse_config(good).storage.oci.bundles_in_repository
    bad = {name: "reg.example/{team}"}
    assert any(problem.key == name and problem.severity == "error" for problem in lint_config(bad))
    with pytest.raises(ConfigError, match=r"unknown placeholder \{team\}"):
        parse_config(bad)
    alone = lint_config({"storage.oci.bundles-in-repository": "true"})
    assert [each.key for each in alone if each.severity == "error"] == ["storage.oci.bundles-in-repository"]


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://chains@db.example/index", ""),
        ("/var/lib/chains/index.db", ""),
        ("postgresql://chains:hunter2@db.example/index", "has a password"),
        ("postgresql://db.example/index?user=chains&password=hunter2", "has a password"),
        ("mysql://db.example/index", "expected postgresql://… or the path of a file, got 'mysql'"),
    ],
)
def test_an_index_is_named_without_its_password(url: str, told: str) -> None:
    problems = [one for one in lint_config({"index.url": url}) if one.key == "index.url"]
    assert [told in one.message for one in problems] == ([True] if told else [])
    assert "hunter2" not in " ".join(one.message for one in problems)
