"""Every key of ``chains-config``: its kind, default, allowed values and meaning.

The parser, lint and ``docs/configuration.md`` use this table. Names, defaults and accepted values of the keys
that are not ``ours`` are those of Tekton Chains (v0.29, ``pkg/config/config.go``). Its parser refuses a wrong
word, but for a wrong boolean it keeps the default without an error; :attr:`ConfigKey.lenient` marks these
keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches

from chains.config.key import ConfigKey, Kind
from chains.config.ledger import STORES as LEDGER_STORES
from chains.statements.formats import FORMATS

_STORES = ("tekton", "oci", "gcs", "docdb", "grafeas", "archivista", "s3")
_SIGNERS = ("x509", "kms", "none")
_WEB = ("https", "http")
SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path


def _format(artifact: str, kind: str) -> ConfigKey:
    text = f"Predicate of {kind} provenance. `in-toto` and `slsa/v1` are SLSA v0.2, the other two SLSA v1.0."
    return ConfigKey(f"artifacts.{artifact}.format", Kind.ENUM, "in-toto", text, FORMATS)


def _storage(artifact: str, default: str, what: str, values: tuple[str, ...]) -> ConfigKey:
    text = f'Where {what} are stored, several separated by commas; `""` disables them.'
    return ConfigKey(f"artifacts.{artifact}.storage", Kind.LIST, default, text, values, ours_values=("s3",))


def _signer(artifact: str, text: str) -> ConfigKey:
    return ConfigKey(f"artifacts.{artifact}.signer", Kind.ENUM, "x509", text, _SIGNERS)


_ARTIFACTS = (
    _format("taskrun", "TaskRun"),
    _storage("taskrun", "tekton", "attestations of TaskRuns", (*_STORES, "kafka")),
    _signer("taskrun", "What signs attestations of TaskRuns; `none` disables them."),
    _format("pipelinerun", "PipelineRun"),
    _storage("pipelinerun", "tekton", "attestations of PipelineRuns", _STORES),
    _signer("pipelinerun", "What signs attestations of PipelineRuns; `none` disables them."),
    ConfigKey(
        "artifacts.pipelinerun.enable-deep-inspection", Kind.BOOL, "false",
        "Whether results of child TaskRuns count as inputs and outputs of their PipelineRun.", lenient=True,
    ),
    ConfigKey(
        "artifacts.oci.format", Kind.ENUM, "simplesigning", "Form of image signatures.", ("simplesigning",),
    ),
    _storage("oci", "oci", "image signatures", (*_STORES, "kafka")),
    _signer("oci", "What signs images; `none` leaves images unsigned and provenance as it is."),
    ConfigKey(
        "artifacts.native.enabled", Kind.BOOL, "false",
        "Whether artifacts that Tekton itself records (`status.artifacts`, inputs and outputs of steps) "
        "become subjects and dependencies too.", ours=True,
    ),
    ConfigKey(
        "execution.report", Kind.BOOL, "true",
        "Whether each run also gets an execution report: outcome, and isolation as requested, enforced and "
        "observed.",
        ours=True,
    ),
)  # fmt: skip

_REPORT = (
    ConfigKey(
        "execution.network-policies.enforced", Kind.BOOL, "false",
        "Whether the cluster's network plugin is known to enforce NetworkPolicies; this cannot be observed. "
        "Only if true, policies that deny a pod all egress and all ingress count as isolation.", ours=True,
    ),
    ConfigKey(
        "execution.image-environments", Kind.BOOL, "false",
        "Whether to read the environment of a step's image from the registry if the isolation depends on it. "
        "The pod does not show this environment.", ours=True,
    ),
    ConfigKey(
        "execution.trigger.guarded", Kind.BOOL, "false",
        "Whether an admission policy is known to let only the accounts of EventListeners write what a run's "
        "labels and annotations say about its trigger. Only if true, the execution report does not call this "
        "`claimed`.", ours=True,
    ),
    ConfigKey(
        "execution.redaction.key-file", Kind.PATH, "",
        "File with a key of at least 16 bytes. Redacted values are replaced by their HMAC-SHA-256, not "
        "removed.",
        ours=True,
    ),
    ConfigKey(
        "execution.redaction.shown-variables", Kind.TEXT, "",
        "Environment variables whose values are shown, separated by commas; all others are redacted.",
        ours=True,
    ),
    ConfigKey(
        "execution.redaction.arguments", Kind.PATTERN, "",
        "Further text to redact in arguments: the first group of the pattern, or its whole match. Passwords, "
        "tokens and keys in common forms are always redacted.", ours=True,
    ),
)  # fmt: skip

_PROVENANCE = (
    ConfigKey(
        "builder.id", Kind.TEXT, "https://tekton.dev/chains/v2",
        "Builder in the provenance, as a URI.",
    ),
    ConfigKey(
        "builder.id.hermetic", Kind.TEXT, "",
        "Builder in the provenance of runs whose isolation from the network is proven (`enforced` in the "
        "execution report); empty: `builder.id`.", ours=True,
    ),
    ConfigKey(
        "builddefinition.buildtype", Kind.ENUM, "https://tekton.dev/chains/v2/slsa",
        "Build type of the SLSA v1.0 formats; `slsa-tekton` adds labels, annotations and child TaskRuns.",
        ("https://tekton.dev/chains/v2/slsa", "https://tekton.dev/chains/v2/slsa-tekton"),
    ),
)  # fmt: skip

_STORAGE = (
    ConfigKey(
        "storage.oci.repository", Kind.TEXT, "",
        "Repository for the `.att` and `.sig` tags of all images; empty: the repository of each image. "
        "Bundles "
        "stay in the repository of their image. Placeholders `{namespace}`, `{kind}` and `{name}` are "
        "those of "
        "the run (ours).",
    ),
    ConfigKey(
        "storage.oci.bundles-in-repository", Kind.BOOL, "false",
        "Whether bundles, like the tags, are stored in `storage.oci.repository` and not with their image.",
        ours=True,
    ),
    ConfigKey(
        "storage.oci.attach-to-platforms", Kind.BOOL, "false",
        "Whether the platform images of an image index are subjects too: each is attested, signed, and gets "
        "its evidence attached. This asks the registry for every image of a run.", ours=True,
    ),
    ConfigKey(
        "storage.oci.repository.insecure", Kind.BOOL, "false",
        "Whether registries may be reached over plain HTTP or with an unverified certificate.", lenient=True,
    ),
    ConfigKey(
        "storage.oci.encoding-format", Kind.ENUM, "dsse",
        "`dsse` writes `.att` and `.sig` tags, `sigstore-bundle` referrers with Sigstore bundles.",
        ("dsse", "sigstore-bundle", "both"), ours_values=("both",),
    ),
    ConfigKey(
        "storage.oci.wait-for-image", Kind.DURATION, "1h",
        "How long after the end of a run the controller waits for an image that is not in its registry yet, "
        "because another task pushes it; `0`: no wait. See `controller.md`.", ours=True,
    ),
    ConfigKey(
        "storage.oci.ca-file", Kind.PATH, "",
        "PEM file of further CAs for registries, in addition to those of the system.",
        ours=True,
    ),
    ConfigKey(
        "storage.oci.run-credentials", Kind.BOOL, "true",
        "Whether the controller tries the registry credentials of a run's service account before its own.",
        ours=True,
    ),
    ConfigKey("storage.gcs.bucket", Kind.TEXT, "", "Bucket for the store `gcs`."),
    ConfigKey(
        "storage.docdb.url", Kind.URL, "", "Collection for the store `docdb`, as a go-cloud docstore URL.",
        schemes=("firestore", "dynamodb", "mongo"),
    ),
    ConfigKey(
        "storage.docdb.mongo-server-url", Kind.URL, "",
        "MongoDB server for `mongo://`, with its password. It replaces the variable `MONGO_SERVER_URL`.",
        schemes=("mongodb", "mongodb+srv"), secret=True,
    ),
    ConfigKey(
        "storage.docdb.mongo-server-url-dir", Kind.PATH, "",
        "Folder whose file `MONGO_SERVER_URL` has that URL. It overrides `storage.docdb.mongo-server-url`.",
    ),
    ConfigKey(
        "storage.docdb.mongo-server-url-path", Kind.PATH, "", "File with that URL. It overrides the folder.",
    ),
    ConfigKey("storage.grafeas.projectid", Kind.TEXT, "", "Google Cloud project for the store `grafeas`."),
    ConfigKey(
        "storage.grafeas.noteid", Kind.TEXT, "",
        "Prefix of the names of notes; empty: `tekton-NAMESPACE`.",
    ),
    ConfigKey(
        "storage.grafeas.notehint", Kind.TEXT, "This attestation note was generated by Tekton Chains",
        "Human-readable name of attestation notes.",
    ),
    ConfigKey("storage.archivista.url", Kind.URL, "", "Server for the store `archivista`.", schemes=_WEB),
    ConfigKey(
        "storage.pubsub.provider", Kind.ENUM, "", "Message service of the store `kafka`.",
        ("inmemory", "kafka"),
    ),
    ConfigKey("storage.pubsub.topic", Kind.TEXT, "", "Topic for these messages."),
    ConfigKey("storage.pubsub.kafka.bootstrap.servers", Kind.TEXT, "", "`host:port` of a Kafka broker."),
    ConfigKey(
        "storage.pubsub.kafka.security.protocol", Kind.ENUM, "plaintext",
        "Protocol to the Kafka brokers: TLS (`ssl`), a login (`sasl_…`), both, or neither.",
        ("plaintext", "ssl", "sasl_plaintext", "sasl_ssl"), ours=True,
    ),
    ConfigKey(
        "storage.pubsub.kafka.ssl.ca-file", Kind.PATH, "",
        "PEM file of the trusted CAs; empty: those of the system.", ours=True,
    ),
    ConfigKey(
        "storage.pubsub.kafka.ssl.cert-file", Kind.PATH, "",
        "PEM file of the client certificate, if the brokers require one.", ours=True,
    ),
    ConfigKey(
        "storage.pubsub.kafka.ssl.key-file", Kind.PATH, "",
        "PEM file of the private key of the client certificate.", ours=True,
    ),
    ConfigKey(
        "storage.pubsub.kafka.sasl.mechanism", Kind.ENUM, "SCRAM-SHA-512", "SASL mechanism of the login.",
        ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"), ours=True,
    ),
    ConfigKey("storage.pubsub.kafka.sasl.username", Kind.TEXT, "", "User name of the login.", ours=True),
    ConfigKey(
        "storage.pubsub.kafka.sasl.password-path", Kind.PATH, "",
        "File with the password, read again after a change; empty: variable `KAFKA_SASL_PASSWORD`.",
        ours=True,
    ),
)  # fmt: skip

_S3 = (
    ConfigKey(
        "storage.s3.bucket", Kind.TEXT, "",
        "Bucket of the store `s3`, in AWS or a compatible service.", ours=True,
    ),
    ConfigKey("storage.s3.prefix", Kind.TEXT, "", "Prefix of all keys in the bucket.", ours=True),
    ConfigKey(
        "storage.s3.region", Kind.TEXT, "", "Region of the bucket; empty: variable `AWS_REGION`.", ours=True,
    ),
    ConfigKey(
        "storage.s3.endpoint", Kind.URL, "",
        "URL of the service if it is not AWS; empty: variable `AWS_ENDPOINT_URL`.", schemes=_WEB, ours=True,
    ),
    ConfigKey(
        "storage.s3.addressing-style", Kind.ENUM, "auto",
        "Whether the name of the bucket is in the path or in the host; `auto`: in the path if an "
        "endpoint is set.",
        ("auto", "path", "virtual"), ours=True,
    ),
    ConfigKey(
        "storage.s3.ca-file", Kind.PATH, "",
        "PEM file of the CAs that are trusted instead of the usual ones.", ours=True,
    ),
    ConfigKey(
        "storage.s3.sse", Kind.ENUM, "", "Server-side encryption that is requested and checked.",
        ("AES256", "aws:kms"), ours=True,
    ),
    ConfigKey(
        "storage.s3.sse-kms-key-id", Kind.TEXT, "",
        "Key for `aws:kms`; empty: the default key of the account.", ours=True,
    ),
    ConfigKey(
        "storage.s3.object-lock.mode", Kind.ENUM, "",
        "Object lock of new objects; with `compliance`, nobody can delete them before the retention ends.",
        ("governance", "compliance"), ours=True,
    ),
    ConfigKey(
        "storage.s3.object-lock.retain-days", Kind.TEXT, "",
        "Retention: `DAYS`, or `PATTERN=DAYS` for namespaces, separated by commas, such as "
        "`prod-*=2555,*=365`. The first match applies.", ours=True,
    ),
    ConfigKey(
        "storage.s3.object-lock.legal-hold", Kind.TEXT, "",
        "Namespaces under legal hold, which has no end: patterns, separated by commas.", ours=True,
    ),
    ConfigKey(
        "storage.s3.snapshots", Kind.BOOL, "true",
        "Whether the attested run is stored with its evidence, including its parameters and results.",
        ours=True,
    ),
)  # fmt: skip

_KMS = (
    ConfigKey(
        "signers.kms.kmsref", Kind.URL, "", "Key for the signer `kms`.",
        schemes=("gcpkms", "awskms", "azurekms", "hashivault", "openbao", "pkcs11"),
    ),
    ConfigKey(
        "signers.kms.auth.address", Kind.URL, "", "Vault server; empty: variable `VAULT_ADDR`.", schemes=_WEB,
    ),
    ConfigKey(
        "signers.kms.auth.token", Kind.TEXT, "",
        "Vault token. Everyone who may read the ConfigMap sees it; use `signers.kms.auth.token-path`.",
        secret=True,
    ),
    ConfigKey(
        "signers.kms.auth.token-path", Kind.PATH, "",
        "File with the Vault token. It overrides `signers.kms.auth.token`.",
    ),
    ConfigKey("signers.kms.auth.oidc.path", Kind.TEXT, "", "Mount path of Vault's JWT login, such as `jwt`."),
    ConfigKey("signers.kms.auth.oidc.role", Kind.TEXT, "", "Role of the login; it needs the path too."),
    ConfigKey(
        "signers.kms.auth.oidc.token-path",
        Kind.PATH, SERVICE_ACCOUNT_TOKEN, "File with the JWT for this login.",
    ),
    ConfigKey(
        "signers.kms.auth.spire.sock", Kind.URL, "", "Socket of a SPIRE agent that issues the JWT.",
        schemes=("unix", "tcp"),
    ),
    ConfigKey("signers.kms.auth.spire.audience", Kind.TEXT, "", "Audience of the JWT from SPIRE."),
)  # fmt: skip

PROVIDERS = (
    "filesystem", "github-actions", "google-workload-identity", "google-impersonate", "spiffe",
    "buildkite-agent", "envvar", "filesystem-custom-path",
)  # fmt: skip
"""The providers of cosign 2.6, for ``signers.x509.fulcio.provider``; Tekton Chains accepts any text."""

_X509 = (
    ConfigKey(
        "signers.x509.fulcio.enabled", Kind.BOOL, "false",
        "Whether the signer `x509` uses short-lived certificates from Fulcio instead of a key.", lenient=True,
    ),
    ConfigKey(
        "signers.x509.fulcio.address", Kind.URL, "https://fulcio.sigstore.dev",
        "Fulcio server.", schemes=_WEB,
    ),
    ConfigKey(
        "signers.x509.fulcio.issuer", Kind.URL, "https://oauth2.sigstore.dev/auth", "Expected OIDC issuer.",
        schemes=_WEB,
    ),
    ConfigKey(
        "signers.x509.fulcio.provider", Kind.TEXT, "",
        f"Source of the identity token: {', '.join(f'`{name}`' for name in PROVIDERS)}; empty: all.",
    ),
    ConfigKey("signers.x509.identity.token.file", Kind.PATH, "", "File with the identity token."),
    ConfigKey(
        "signers.x509.tuf.mirror.url", Kind.URL, "https://tuf-repo-cdn.sigstore.dev",
        "TUF repository of the trusted root. Any other than the default needs `signers.x509.tuf.root`.",
        schemes=_WEB,
    ),
    ConfigKey(
        "signers.x509.tuf.root", Kind.PATH, "",
        "Pinned `root.json` of the TUF repository: only metadata that is signed from this root is trusted.",
        ours=True,
    ),
    ConfigKey(
        "signers.x509.trusted-root", Kind.PATH, "",
        "Trusted root (`trusted_root.json`) to verify the answers of Fulcio, log and timestamp authority; "
        "empty: for certificates, the one of the TUF repository.", ours=True,
    ),
    ConfigKey(
        "signers.x509.signing-config", Kind.PATH, "",
        "Sigstore signing configuration. Its Fulcio, log and timestamp authority override the URLs here.",
        ours=True,
    ),
)  # fmt: skip

_TRANSPARENCY = (
    ConfigKey(
        "transparency.enabled", Kind.ENUM, "false",
        "Whether signatures are recorded in a transparency log; `manual`: only those of runs with the "
        "annotation "
        '`chains.tekton.dev/transparency-upload: "true"` or the label '
        '`provenance.chains/transparency-upload: "true"`.', ("true", "false", "manual"), lenient=True,
    ),
    ConfigKey("transparency.url", Kind.URL, "https://rekor.sigstore.dev", "Rekor server.", schemes=_WEB),
    ConfigKey(
        "transparency.version", Kind.ENUM, "1",
        "API version of the Rekor server; `2` stores only hashes and needs a timestamp authority.",
        ("1", "2"),
        ours=True,
    ),
    ConfigKey(
        "signers.extra", Kind.SIGNERS, "",
        "Further signers for some runs: a JSON or YAML list of objects with `name`, `reference` (a key "
        "file or "
        "the reference of a key service), `namespaces` (patterns), `labels` (a selector), and `instead: "
        "true` "
        "if it replaces the artifact's own signer. See `signers.md`.", ours=True,
    ),
    ConfigKey(
        "signers.timestamp.url", Kind.URL, "",
        "Timestamp authority (RFC 3161) that stamps every signature; empty: none.", schemes=_WEB, ours=True,
    ),
)  # fmt: skip

_SELECTION = (
    ConfigKey(
        "filter.managed-by", Kind.TEXT, "",
        "Further values of `spec.managedBy`, separated by commas, of runs to handle. Runs with "
        "`tekton.dev/pipeline` or without a value are always handled; others are not touched. Tekton Chains "
        "has this key after 0.29.", ours=True,
    ),
    ConfigKey(
        "filter.labels", Kind.LABELS, "",
        "Label selector of the runs to attest, such as `team=a,tier in (b,c)`; the others are marked "
        "`skipped`.", ours=True,
    ),
    ConfigKey(
        "filter.skip", Kind.TEXT, "",
        "Name of a label or annotation. A run that has it with the value `true` gets no evidence and is "
        "marked "
        "`skipped`; empty: no run can ask for this.", ours=True,
    ),
    ConfigKey(
        "backlog.since", Kind.SINCE, "",
        "Runs that ended before this time, or longer ago than this age (`36h`, `7d`), are marked `skipped`; "
        "`chains backfill` can still attest them.", ours=True,
    ),
    ConfigKey(
        "backlog.rate", Kind.NUMBER, "0",
        "Runs of the backlog (ended more than five minutes ago) that are started per second; 0: no limit.",
        ours=True,
    ),
)  # fmt: skip

_INDEX = (
    ConfigKey(
        "index.url", Kind.TEXT, "",
        "Index to which the evidence of each marked run is added: `postgresql://USER@HOST/DATABASE`, or the "
        "path of a file; empty: none. It was built with `chains index build`, whose trust and stores count. "
        "A password belongs into the environment variable `PGPASSWORD`. See `evidence-index.md`.", ours=True,
    ),
)  # fmt: skip

_LEDGER = (
    ConfigKey(
        "ledger.folder", Kind.PATH, "",
        "Folder of the ledger, in which the controller notes every run that it sees and what became of it; "
        "empty: no ledger. It has to outlive the pod. See `ledger.md`.", ours=True,
    ),
    ConfigKey(
        "ledger.origin", Kind.TEXT, "",
        "Name of the ledger, as host and path without scheme, such as `chains.example.com/prod`. A share's "
        "log adds `/share-0-of-1`. It never changes.", ours=True,
    ),
    ConfigKey(
        "ledger.signer", Kind.TEXT, "",
        "Key that signs the ledger's days: a key file or the reference of a key service. It must be another "
        "key than those of the runs.", ours=True,
    ),
    ConfigKey(
        "ledger.storage", Kind.LIST, "",
        "Where the signed statements of closed days are stored besides the folder, several separated by "
        "commas.", LEDGER_STORES, ours=True,
    ),
    ConfigKey(
        "ledger.policies", Kind.PATH, "",
        "File or folder with policies whose exemptions the ledger notes, with reason, reference and end. "
        "See `ledger.md`.", ours=True,
    ),
    ConfigKey(
        "ledger.transparency", Kind.BOOL, "false",
        "Whether the signature of each day is recorded in the transparency log of `transparency.url`; needs "
        "`transparency.enabled`.", ours=True,
    ),
    ConfigKey(
        "ledger.witnesses", Kind.TEXT, "",
        "Witnesses that sign the head of each closed day (C2SP tlog-witness): the verifier key and the URL "
        "of each, separated by a blank; several separated by commas. Needs an Ed25519 key as "
        "`ledger.signer`. They never hold the controller up.", ours=True,
    ),
)  # fmt: skip

SECTIONS = (
    ("What is attested", _ARTIFACTS),
    ("Which runs", _SELECTION),
    ("Execution report", _REPORT),
    ("Provenance", _PROVENANCE),
    ("Stores", _STORAGE),
    ("Store `s3`", _S3),
    ("Signer `kms`", _KMS),
    ("Signer `x509`", _X509),
    ("Transparency log", _TRANSPARENCY),
    ("Ledger", _LEDGER),
    ("Index", _INDEX),
)
KEYS: Mapping[str, ConfigKey] = {key.name: key for _, keys in SECTIONS for key in keys}

IGNORED = frozenset(("_example",))
"""Keys with documentation in knative's ConfigMaps."""

RENAMED = {
    "signers.kms.auth.path": "signers.kms.auth.oidc.path",
    "signers.kms.auth.role": "signers.kms.auth.oidc.role",
    "signers.kms.auth.token-dir": "signers.kms.auth.token-path",
    "signers.x509.fulcio.auth": "signers.x509.fulcio.provider",
}
"""Former keys of released and unreleased versions of Tekton Chains, and their replacements."""
_MEANT = {
    "tekton": "in-toto", "tekton-provenance": "in-toto",
    "slsa/v0.2": "in-toto", "slsa/v1.0": "slsa/v2alpha4",
    "slsa/v2alpha1": "slsa/v2alpha3", "slsa/v2alpha2": "slsa/v2alpha3",
    "pubsub": "kafka", "yes": "true", "on": "true", "enabled": "true", "no": "false", "off": "false",
    "disabled": "false", "google": "google-workload-identity", "github": "github-actions",
}  # fmt: skip
"""Former values, and values that people write by mistake, with the value that is meant."""


def read_values(data: Mapping[str, str]) -> tuple[dict[str, str], list[ConfigKey]]:
    """Return the value of every key, and the keys with an invalid value, which get their default."""
    values: dict[str, str] = {}
    unreadable = []
    for name, key in KEYS.items():
        raw = data.get(name)
        value = key.default if raw is None else key.read(raw)
        if value is None:
            unreadable.append(key)
        values[name] = key.default if value is None else value
    return values, unreadable


def unknown_keys(data: Mapping[str, str]) -> tuple[str, ...]:
    """Return the keys that are not in the table, in the order of ``data``."""
    return tuple(name for name in data if name not in KEYS and name not in IGNORED)


def nearest_key(name: str) -> str:
    """Return the known key that was probably meant, or an empty text."""
    renamed = RENAMED.get(name)
    near = get_close_matches(name.lower(), KEYS, 1, 0.8)
    return renamed or (near[0] if near else "")


def nearest_value(word: str, values: tuple[str, ...]) -> str:
    """Return the allowed word that was probably meant, or an empty text."""
    low = word.strip().lower()
    meant = _MEANT.get(low, low)
    near = [meant] if meant in values else get_close_matches(low, values, 1, 0.7)
    return near[0] if near else ""
