"""Rules about combinations of settings that are valid one by one: one function for each topic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from chains.config.extra_signers import parse_extra_signers
from chains.config.keys import KEYS, PROVIDERS, nearest_value
from chains.config.ledger import is_origin, witness_pairs
from chains.config.pubsub import pubsub_storage
from chains.config.s3 import s3_storage
from chains.errors import Problem
from chains.statements.formats import V02_FORMATS
from signers.open import KEY_SERVICES, scheme_of
from storage.errors import StoreRejected
from storage.formats.repository_template import parse_gathered
from storage.kafka.settings import parse_kafka_url
from storage.s3.settings import parse_s3_url

_ARTIFACTS = {"taskrun": "TaskRuns", "pipelinerun": "PipelineRuns", "oci": "images"}
_PUBLIC_LOG = "rekor.sigstore.dev"
_VAULT = ("hashivault", "openbao")
_STORE_NEEDS = {
    "gcs": ("storage.gcs.bucket",),
    "docdb": ("storage.docdb.url",),
    "grafeas": ("storage.grafeas.projectid",),
    "archivista": ("storage.archivista.url",),
    "s3": ("storage.s3.bucket",),
    "kafka": ("storage.pubsub.provider", "storage.pubsub.topic", "storage.pubsub.kafka.bootstrap.servers"),
}
_STORE_OF = {
    "storage.oci.": "oci",
    "storage.gcs.": "gcs",
    "storage.docdb.": "docdb",
    "storage.grafeas.": "grafeas",
    "storage.archivista.": "archivista",
    "storage.pubsub.": "kafka",
    "storage.s3.": "s3",
}


@dataclass(frozen=True, slots=True)
class View:
    """The data of a ConfigMap and its parsed values, with the questions of the rules."""

    data: Mapping[str, str]
    values: Mapping[str, str]

    def given(self, name: str) -> bool:
        """Whether the key is set to a value other than its default."""
        return bool(self.data.get(name)) and self.values[name] != KEYS[name].default

    def enabled(self, artifact: str) -> bool:
        """Whether an artifact is attested."""
        start = f"artifacts.{artifact}."
        return self.values[start + "signer"] != "none" and self.values[start + "storage"] != ""

    def signing(self, signer: str) -> str:
        """Return the keys with which enabled artifacts choose a signer, as text; empty if none does."""
        names = (f"artifacts.{artifact}.signer" for artifact in _ARTIFACTS if self.enabled(artifact))
        return " and ".join(name for name in names if self.values[name] == signer)

    def storing(self, store: str) -> str:
        """Return the keys with which enabled artifacts choose a store, as text; empty if none does."""
        names = [f"artifacts.{artifact}.storage" for artifact in _ARTIFACTS if self.enabled(artifact)]
        names += ["ledger.storage"] if self.values["ledger.folder"] else []
        return " and ".join(name for name in names if store in self.values[name].split(","))

    @property
    def logs_in(self) -> bool:
        """Whether a key of a key service is used, which the keys ``signers.kms.auth.*`` log in to."""
        further = [one.reference for one in parse_extra_signers(self.values["signers.extra"])]
        if self.values["ledger.folder"]:
            further.append(self.values["ledger.signer"])
        return bool(self.signing("kms")) or any(scheme_of(one) in KEY_SERVICES for one in further)

    @property
    def keyless(self) -> bool:
        """Whether the signer x509 uses certificates from Fulcio."""
        return self.values["signers.x509.fulcio.enabled"] == "true"


def _error(key: str, message: str, suggestion: str = "") -> Problem:
    return Problem(key, "error", message, suggestion)


def _warning(key: str, message: str) -> Problem:
    return Problem(key, "warning", message)


def _disabled(view: View) -> Iterator[Problem]:
    for artifact in ("taskrun", "pipelinerun"):
        if view.values[f"artifacts.{artifact}.signer"] == "none":
            yield _warning(
                f"artifacts.{artifact}.signer",
                f"none leaves {_ARTIFACTS[artifact]} without evidence; the documentation of tekton chains "
                "describes unsigned provenance, but its code stores none, and neither does this project",
            )
    if not any(map(view.enabled, _ARTIFACTS)):
        yield _warning("artifacts", "all artifacts are disabled, so nothing is attested")


def _formats(view: View) -> Iterator[Problem]:
    runs = [artifact for artifact in ("taskrun", "pipelinerun") if view.enabled(artifact)]
    for artifact in runs:
        name = f"artifacts.{artifact}.format"
        if view.values[name] == "slsa/v1":
            yield _warning(
                name, "slsa/v1 is SLSA v0.2, the same as in-toto; write slsa/v2alpha4 for SLSA v1.0"
            )
    formats = {view.values[f"artifacts.{artifact}.format"] for artifact in runs}
    if view.given("builddefinition.buildtype") and formats <= V02_FORMATS:
        yield _warning(
            "builddefinition.buildtype",
            "has no effect: only slsa/v2alpha3 and slsa/v2alpha4 have this build type",
        )
    builder = view.values["builder.id"]
    if not builder:
        yield _error(
            "builder.id", "expected a URI, got nothing; verifiers refuse provenance without a builder"
        )
    elif ":" not in builder:
        shown = KEYS["builder.id"].shown(builder)
        yield _warning("builder.id", f"expected a URI, got {shown}; write one that names this installation")
    hermetic = view.values["builder.id.hermetic"]
    if hermetic and ":" not in hermetic:
        shown = KEYS["builder.id.hermetic"].shown(hermetic)
        yield _warning("builder.id.hermetic", f"expected a URI, got {shown}")
    elif hermetic and hermetic == builder:
        yield _warning(
            "builder.id.hermetic", "equals builder.id, so verifiers cannot distinguish hermetic runs"
        )


def _stores(view: View) -> Iterator[Problem]:
    for store, names in _STORE_NEEDS.items():
        users = view.storing(store)
        for name in names if users else ():
            if not view.values[name].strip():
                yield _error(
                    name, f"is missing, but {users} has {store}; nothing can be stored there without it"
                )
    for artifact, what in _ARTIFACTS.items():
        name = f"artifacts.{artifact}.storage"
        if view.enabled(artifact) and view.values[name] == "tekton":
            yield _warning(
                name,
                f"evidence about {what} is only in annotations of the run, where it is deleted with the run "
                "and limited to 256 KiB; add oci or another store",
            )
    if view.storing("kafka"):
        message = f"{view.storing('kafka')} has kafka, which tekton chains accepts but has no store for"
        yield _warning("artifacts", f"{message}: every run fails there")
        if view.values["storage.pubsub.provider"] == "inmemory":
            yield _error("storage.pubsub.provider", "inmemory keeps nothing; write kafka")
        elif problem := _kafka_problem(view):
            yield _error("storage.pubsub.kafka", problem)
    if view.values["storage.oci.attach-to-platforms"] == "true" and not view.storing("oci"):
        yield _error("storage.oci.attach-to-platforms", "needs the store oci, because it asks its registry")
    if "artifacts.oci.storage" in view.storing("archivista"):
        message = (
            "archivista stores only envelopes; for an image signature in it, tekton chains fails the run"
        )
        yield _warning("artifacts.oci.storage", message)
    if any(map(str.isspace, view.values["storage.grafeas.noteid"].strip())):
        yield _error("storage.grafeas.noteid", "expected a word without spaces")


def _kafka_problem(view: View) -> str:
    """Return the error of the store for its keys, or an empty text."""
    pubsub = pubsub_storage(view.values)
    if pubsub.topic and pubsub.kafka_bootstrap_servers:
        try:
            parse_kafka_url(pubsub.url)
        except StoreRejected as error:
            return str(error)
    return ""


def _mongo(view: View) -> Iterator[Problem]:
    start = "storage.docdb.mongo-server-url"
    given = [name for name in (f"{start}-path", f"{start}-dir", start) if view.given(name)]
    if view.given(start):
        message = (
            "everyone who may read the ConfigMap sees its password; mount a Secret and name the file with "
        )
        yield _warning(start, f"{message}{start}-path")
    for name in given[1:]:
        yield _warning(name, f"has no effect: {given[0]} overrides it; remove one of them")
    url = view.values["storage.docdb.url"]
    if not view.storing("docdb") or not url:
        return
    if given and not url.startswith("mongo://"):
        yield _warning(given[0], "has no effect: storage.docdb.url does not begin with mongo://")
    if not given and url.startswith("mongo://"):
        message = "needs the environment variable MONGO_SERVER_URL in the controller, or "
        yield _warning("storage.docdb.url", f"{message}{start}-path")


def _bucket(view: View) -> Iterator[Problem]:
    try:
        if view.values["storage.s3.bucket"]:
            parse_s3_url(s3_storage(view.values).url)
    except StoreRejected as error:
        yield _error("storage.s3", str(error))
    if view.values["storage.s3.object-lock.mode"] == "compliance":
        message = (
            "nobody can shorten the retention, not even the root user of the account; try governance first"
        )
        yield _warning("storage.s3.object-lock.mode", message)


def _registry(view: View) -> Iterator[Problem]:
    repository = view.values["storage.oci.repository"].strip()
    encoding = view.values["storage.oci.encoding-format"]
    if repository:
        try:
            parse_gathered(repository)
        except StoreRejected as error:
            yield _error("storage.oci.repository", f"expected registry/repository: {error}")
        if view.values["storage.oci.bundles-in-repository"] == "true":
            pass
        elif encoding == "sigstore-bundle":
            message = "has no effect: the encoding format sigstore-bundle uses the image's repository alone"
            yield _warning("storage.oci.repository", message)
        elif encoding == "both":
            message = (
                "gets only the tags; bundles go to the image's repository, where pushing must be allowed too"
            )
            yield _warning("storage.oci.repository", message)
    elif view.values["storage.oci.bundles-in-repository"] == "true":
        yield _error("storage.oci.bundles-in-repository", "needs storage.oci.repository")
    if view.values["storage.oci.repository.insecure"] == "true":
        yield _warning(
            "storage.oci.repository.insecure",
            "no certificate of a registry is verified, so others on the network can read and change evidence "
            "and credentials; configure a private CA with storage.oci.ca-file instead",
        )
        if view.given("storage.oci.ca-file"):
            yield _warning(
                "storage.oci.ca-file", "has no effect while storage.oci.repository.insecure is true"
            )


def _kms(view: View) -> Iterator[Problem]:
    auth = "signers.kms.auth."
    if view.given(auth + "token"):
        message = (
            "everyone who may read the ConfigMap can sign with it; mount a Secret and name the file with "
        )
        yield _warning(auth + "token", f"{message}{auth}token-path")
        if view.given(auth + "token-path"):
            yield _warning(
                auth + "token", f"has no effect: {auth}token-path overrides it; remove one of them"
            )
    users = view.signing("kms")
    if not users:
        return
    reference = view.values["signers.kms.kmsref"]
    if not reference:
        yield _error(
            "signers.kms.kmsref", f"is missing, but {users} is kms; nothing can be signed without it"
        )
    yield from _kms_login(view)
    scheme = reference.partition(":")[0]
    if reference and scheme not in _VAULT:
        for name in KEYS:
            if name.startswith(auth) and view.given(name):
                yield _warning(
                    name, f"has no effect: only {' and '.join(_VAULT)} keys use it, the key is {scheme}:"
                )


def _kms_login(view: View) -> Iterator[Problem]:
    """Check the two sources of a JWT: SPIRE, or a file with path and role. A token overrides the second."""
    sock, audience = "signers.kms.auth.spire.sock", "signers.kms.auth.spire.audience"
    start = "signers.kms.auth.oidc."
    path, role = view.given(start + "path"), view.given(start + "role")
    if view.given(sock) and not view.given(audience):
        yield _error(audience, f"is missing, but {sock} is set; spire issues no token without it")
    if view.given(audience) and not view.given(sock):
        yield _warning(audience, f"has no effect without {sock}")
    if view.given(sock):
        if view.given(start + "token-path"):
            yield _warning(start + "token-path", f"has no effect: {sock} overrides it")
    elif view.given("signers.kms.auth.token") or view.given("signers.kms.auth.token-path"):
        if path or role:
            yield _warning(
                start + ("path" if path else "role"), "has no effect: a token is set too and overrides it"
            )
    elif path != role:
        missing, there = ("role", "path") if path else ("path", "role")
        yield _error(start + missing, f"is missing, but {start}{there} is set; the login needs both")
    elif view.given(start + "token-path") and not path:
        yield _warning(start + "token-path", f"has no effect without {start}path and {start}role")


def _extra(view: View) -> Iterator[Problem]:
    signers = parse_extra_signers(view.values["signers.extra"])
    for one in signers:
        name = f"signers.extra: {one.name}"
        if scheme_of(one.reference) not in KEY_SERVICES and not one.reference.startswith(("/", "file:///")):
            yield _warning(
                name,
                "the path of its key file is relative to the working folder; use an absolute path",
            )
        if not one.namespaces:
            message = (
                "is selected only by labels; everyone who may create a run in any namespace can set them and "
                "get the run signed with this key; add namespaces"
            )
            yield _warning(name, message)
    if any(not one.instead for one in signers):
        for artifact in _ARTIFACTS:
            if view.enabled(artifact) and view.values[f"artifacts.{artifact}.storage"] == "tekton":
                message = "annotations of a run hold one signature, so a further signer needs another store"
                yield _error(f"artifacts.{artifact}.storage", message)


def _keyless(view: View) -> Iterator[Problem]:
    name = "signers.x509.fulcio.provider"
    provider = view.values[name]
    if provider and provider not in PROVIDERS:
        message = (
            f"expected one of {', '.join(PROVIDERS)}, or nothing to try all, got {KEYS[name].shown(provider)}"
        )
        yield _error(name, message, nearest_value(provider, PROVIDERS))
    if not view.keyless or not view.signing("x509"):
        return
    log = view.values["transparency.enabled"]
    if log != "true" and not view.values["signers.timestamp.url"]:
        message = (
            "certificates from fulcio end after minutes, and without a transparency log nobody can prove "
            'later that a signature is older; set transparency.enabled to "true"'
        )
        problem = _warning if log == "manual" else _error
        yield problem("signers.x509.fulcio.enabled", message)
    if view.given("signers.x509.identity.token.file") and provider and not provider.startswith("filesystem"):
        yield _warning("signers.x509.identity.token.file", f"has no effect: {name} is {provider}")


def _transparency(view: View) -> Iterator[Problem]:
    log = view.values["transparency.enabled"]
    if log == "false":
        return
    if log == "manual":
        yield _warning(
            "transparency.enabled",
            "tekton pipelines removes the annotation chains.tekton.dev/transparency-upload from new runs "
            "(since 0.49); set the label provenance.chains/transparency-upload instead",
        )
    stamps = view.values["signers.timestamp.url"] or view.values["signers.x509.signing-config"]
    if view.values["transparency.version"] == "2" and not stamps:
        message = (
            "is missing, but entries of a rekor v2 log have no time, and verifiers refuse entries without one"
        )
        yield _error("signers.timestamp.url", message)
    try:
        host = urlsplit(view.values["transparency.url"]).hostname
    except ValueError:
        return
    if host == _PUBLIC_LOG:
        message = (
            "this log is public for ever, including parameters, results and internal names of the logged runs"
        )
        yield _warning("transparency.url", message)


def _ledger(view: View) -> Iterator[Problem]:
    if not view.values["ledger.folder"]:
        return
    origin = view.values["ledger.origin"]
    if not origin:
        yield _error("ledger.origin", "is missing, but ledger.folder is set; a ledger has a name")
    elif not is_origin(origin):
        shown = KEYS["ledger.origin"].shown(origin)
        yield _error(
            "ledger.origin", f"expected a host and a path such as chains.example.com/prod, got {shown}"
        )
    if not view.values["ledger.signer"]:
        yield _error("ledger.signer", "is missing, but ledger.folder is set; the days of a ledger are signed")
    if view.values["ledger.transparency"] == "true" and view.values["transparency.enabled"] == "false":
        yield _error("ledger.transparency", "is true, but transparency.enabled is false: there is no log")
    for key, url in witness_pairs(view.values["ledger.witnesses"]):
        if not url.startswith(("https://", "http://")):
            yield _error(
                "ledger.witnesses",
                f"expected a verifier key, a blank and a URL for each witness, got {key[:60]!r} and "
                f"{url[:60]!r}",
            )


def _index(view: View) -> Iterator[Problem]:
    url = view.values["index.url"]
    scheme, separator, rest = url.partition("://")
    if not separator:
        return
    if scheme not in {"postgresql", "postgres", "sqlite"}:
        yield _error("index.url", f"expected postgresql://… or the path of a file, got {scheme[:40]!r}")
    elif ":" in rest.rpartition("@")[0] or "password=" in rest:
        yield _error("index.url", "has a password, which everybody can read here: put it into PGPASSWORD")


def _plain_http(view: View) -> Iterator[Problem]:
    keyless = view.keyless and bool(view.signing("x509"))
    for name, used, why in (
        ("signers.kms.auth.address", view.logs_in, "tokens for the key server"),
        ("storage.s3.endpoint", bool(view.storing("s3")), "evidence"),
        ("signers.x509.fulcio.address", keyless, "identity tokens"),
        ("signers.x509.tuf.mirror.url", keyless, "the trusted root"),
    ):
        if used and view.values[name].startswith("http://"):
            yield _warning(name, f"{why} can be read and changed on the network over plain http; use https")


def _unused(view: View) -> Iterator[Problem]:
    """Yield the settings that have no effect, unless they equal the default."""
    for name in filter(view.given, KEYS):
        reason = _why_unused(view, name)
        if reason:
            yield _warning(name, f"has no effect: {reason}")


_TRUST = ("signers.x509.trusted-root", "signers.x509.signing-config", "signers.x509.tuf.root")
"""Plain keys need them too, for logs and timestamp authorities."""


def _why_unused(view: View, name: str) -> str:
    for start, store in _STORE_OF.items():
        if name.startswith(start) and not view.storing(store):
            return f"no enabled artifact is stored in {store}"
    for signer in ("kms", "x509"):
        is_used = view.signing(signer) or (name.startswith("signers.kms.auth.") and view.logs_in)
        if name.startswith(f"signers.{signer}.") and not is_used and name not in _TRUST:
            return f"no enabled artifact has the signer {signer}"
    if name.startswith("signers.x509.") and not view.keyless and name not in _TRUST:
        return "signers.x509.fulcio.enabled is false"
    for start, switch in (
        ("transparency.url", "transparency.enabled"),
        ("transparency.version", "transparency.enabled"),
        ("execution.redaction.", "execution.report"),
        ("ledger.", "ledger.folder"),
    ):
        if name.startswith(start) and view.values[switch] in {"false", ""}:
            return f"{switch} is {view.values[switch] or 'empty'}"
    for artifact, what in _ARTIFACTS.items():
        is_switch = name.endswith((".storage", ".signer"))
        if name.startswith(f"artifacts.{artifact}.") and not is_switch and not view.enabled(artifact):
            return f"{what} are disabled"
    return ""


RULES = (
    _disabled,
    _formats,
    _stores,
    _mongo,
    _bucket,
    _registry,
    _kms,
    _extra,
    _keyless,
    _transparency,
    _ledger,
    _index,
    _plain_http,
    _unused,
)
