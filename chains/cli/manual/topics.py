"""What ``chains help TOPIC`` prints: what is the same for all commands."""

from __future__ import annotations

from collections.abc import Callable

import click

from chains.cli.manual.described import describe
from signers.open import KEY_SERVICES

EXIT_CODES = {
    0: "done, or verified",
    1: "something failed, or the evidence is wrong",
    2: "wrong usage or configuration",
    3: "no evidence",
    4: "could not decide: a store, a registry or a key service did not answer, for example",
    130: "interrupted (Ctrl-C); what was stored stays stored",
}
"""Every exit code with its meaning."""
STORES = {
    "oci-layout:PATH": "an OCI image layout in a folder",
    "oci:": "in the registry, beside each image",
    "oci://REGISTRY/REPOSITORY": "one repository of a registry for everything",
    "file:PATH": "plain files, one folder for each run",
    "s3://BUCKET/PREFIX": "any S3 service; with Object Lock where the bucket has it",
    "gcs://BUCKET": "Google Cloud Storage, in the layout of Tekton Chains",
    "mongo://DATABASE/COLLECTION": "MongoDB, in the layout of Tekton Chains",
    "dynamodb://TABLE": "DynamoDB, in the layout of Tekton Chains",
    "firestore://projects/…": "Firestore, in the layout of Tekton Chains",
    "grafeas://PROJECT": "notes and occurrences of Grafeas",
    "archivista:https://HOST": "Archivista",
    "kafka://HOST:PORT/TOPIC": "a topic of Kafka; evidence cannot be read back from it",
}
"""The form of each store's URL, and what it is. The scheme is what comes before the first colon."""
VARIABLES = {
    "COSIGN_PASSWORD": "the password of an encrypted key file",
    "DOCKER_CONFIG": "the folder of config.json with the credentials of registries",
    "REGISTRY_AUTH_FILE": "the credentials of registries as podman keeps them; also below XDG_RUNTIME_DIR",
    "KUBECONFIG": "how to reach the cluster, if no option says it",
    "VAULT_ADDR": "the address of Vault; also VAULT_TOKEN, VAULT_NAMESPACE, VAULT_CACERT",
    "BAO_ADDR": "the address of OpenBao; also BAO_TOKEN",
    "AWS_REGION": "the region of Amazon's services; credentials as in Amazon's own tools",
    "GOOGLE_APPLICATION_CREDENTIALS": "credentials for Google's services, as in Google's own tools",
    "STORAGE_EMULATOR_HOST": "another server for gcs: stores",
    "MONGO_SERVER_URL": "the server of mongo: stores",
    "KAFKA_SASL_PASSWORD": "the password of kafka: stores",
    "PGPASSWORD": "the password of an index in PostgreSQL",
    "SIGSTORE_ID_TOKEN": "the identity token for keyless signing",
    "ACTIONS_ID_TOKEN_REQUEST_URL": "identity tokens of GitHub Actions; also ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    "BUILDKITE_AGENT_ACCESS_TOKEN": "identity tokens of Buildkite; the other BUILDKITE_ variables hold too",
    "GCE_METADATA_HOST": "the metadata server, for identity tokens of Google's machines",
    "SPIFFE_ENDPOINT_SOCKET": "the socket of the SPIFFE Workload API",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "where traces go; the other OTEL_ variables hold too",
    "XDG_STATE_HOME": "where the newest revocation lists seen are noted",
    "NO_COLOR": "no colours, if it is set",
    "JOB_COMPLETION_INDEX": "the part that backfill does in a Job; CHAINS_JOB_COMPLETIONS: of how many",
}
"""Variables that are no twin of an option. HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE hold as usual."""
_SIGNERS = {
    "file": "PATH or file://PATH: a private key in a file; PEM, or encrypted as cosign does",
    "awskms": "awskms://[ENDPOINT]/KEY: Amazon KMS",
    "azurekms": "azurekms://VAULT.vault.azure.net/KEY: Azure Key Vault",
    "gcpkms": "gcpkms://projects/…/cryptoKeys/KEY: Google Cloud KMS",
    "hashivault": "hashivault://KEY: the transit engine of Vault",
    "openbao": "openbao://KEY: the transit engine of OpenBao",
    "pkcs11": "pkcs11:token=…;object=…: a key in a device (RFC 7512)",
}


def _table(rows: dict[str, str]) -> list[str]:
    width = max(map(len, rows))
    return [f"  {name.ljust(width)}  {text}" for name, text in rows.items()]


def _exit_codes(_: click.Command) -> list[str]:
    return [
        "Exit codes of every command:",
        "",
        *_table({str(code): text for code, text in EXIT_CODES.items()}),
        "",
        "--output json has the code as exitCode, also on failure.",
    ]


def twins(root: click.Command) -> dict[str, list[str]]:
    """Return every environment twin with the options that it gives a value to, as ``verify --key``."""
    found: dict[str, list[str]] = {}
    for command in describe(root).all():
        for option in command.options:
            name = " ".join([*command.path[1:], option.names[-1]])
            found.setdefault(option.twin, []).append(name)
    return dict(sorted(found.items()))


def _environment(root: click.Command) -> list[str]:
    rows = {name: _shortened(options) for name, options in twins(root).items()}
    return [
        "Every option has a twin: an environment variable that gives the value if the command line does not.",
        "An option replaces its twin. The twin of a repeatable option is split at white space.",
        "",
        *_table(rows),
        "",
        "Other variables (HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE hold as usual):",
        "",
        *_table(VARIABLES),
    ]


def _shortened(options: list[str], most: int = 2) -> str:
    more = f" and {len(options) - most} more" if len(options) > most else ""
    return ", ".join(options[:most]) + more


def _stores(_: click.Command) -> list[str]:
    return [
        "Where evidence goes, and where it is searched: --store URL.",
        "",
        *_table(STORES),
        "",
        "Without --store: .chains/layout for run files of the current folder, and an image's own registry.",
        "Registry credentials come from the docker configuration.",
    ]


def _signers(_: click.Command) -> list[str]:
    rows = {name: text for name, text in _SIGNERS.items() if name == "file" or name in KEY_SERVICES}
    extras = {name: extra for name, (_, extra) in KEY_SERVICES.items()}
    told = {name: f"{text} (extra {extras[name]})" if name in extras else text for name, text in rows.items()}
    return [
        "The key that signs: --key REF.",
        "",
        *_table(told),
        "",
        "Keyless signing (extra keyless) is set up in chains-config: signers.x509.fulcio.enabled.",
        "Without --key: .chains/signing.key, which is made at the first use.",
    ]


TOPICS: dict[str, tuple[str, Callable[[click.Command], list[str]]]] = {
    "exit-codes": ("what the exit codes mean", _exit_codes),
    "environment": ("the environment variables that commands read", _environment),
    "stores": ("the URLs of stores", _stores),
    "signers": ("the keys that sign", _signers),
}
"""Each topic: its line in the help, and the function that returns its lines."""


def topic_lines(name: str, root: click.Command) -> list[str]:
    """Return the lines of a topic."""
    return TOPICS[name][1](root)
