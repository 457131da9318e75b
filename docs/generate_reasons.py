"""Write ``docs/reference/reasons.md``: ``python docs/generate_reasons.py``.

The codes come from the code. What a code means is read from the table of the page that explains it, so that the
words stand in one place; ``_WORDS`` has them for codes that no other page explains.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from chains.admission.provider import Known
from chains.admission.ruling import AdmissionReason
from chains.assembly import pull_secrets
from chains.attest.outcome import State as RunState
from chains.attest.stores import EntryState
from chains.audit.findings import State as AuditState
from chains.audit.findings import Why
from chains.audit.ledger.entries import EntryKind
from chains.audit.ledger.state import RunState as LedgerState
from chains.audit.ledger.walk import _CODES
from chains.audit.retention.judge import Code as RetentionCode
from chains.audit.retention.judge import State as RetentionState
from chains.isolation.finding import Level
from chains.lineage.blast_radius import State as Touched
from chains.policy.guidance import GUIDANCE
from chains.policy.reasons import PolicyReason
from chains.policy.verdict import Decision
from chains.preflight.answer import State as PreflightState
from chains.recheck.standing import Standing
from chains.report.controls.evaluate import State as ControlState
from chains.statements.attributes import Attribute, RunOutcome
from chains.verify.reasons import Reason, Result
from chains.verify.verdict import Verdict
from chains.web.api.shapes import Verdict as IndexVerdict
from signers.keys.keyset import KeyStatus
from storage.locks import LockState
from storage.record import SkipKind

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGE = DOCS / "reference" / "reasons.md"
_INTRO = """# Reasons

<!-- Written by docs/generate_reasons.py from the code and the pages that explain it; change it there. -->

Every code that this software prints, stores or counts, for everybody who must know what one means, and for programs that
depend on them. A code is never renamed and never changes its meaning. Search this page for the code that you see.
"""
Row = tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """One list of codes: who says them, and either the page with their table or the words themselves."""

    title: str
    intro: str
    codes: tuple[str, ...]
    page: str = ""
    words: Mapping[str, Row] = field(default_factory=dict)
    next_steps: Mapping[str, str] = field(default_factory=dict)


def _codes(kind: type[StrEnum]) -> tuple[str, ...]:
    return tuple(one.value for one in kind)


def codes_in_calls(folder: str, *callees: str) -> tuple[str, ...]:
    """Return the codes that modules give as the first or second argument of these calls, such as ``Finding``."""
    found: dict[str, None] = {}
    for file in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in callees:
                for argument in node.args[:2]:
                    if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                        found |= dict.fromkeys(re.findall(r"^[a-z]+(?:[_-][a-z]+)*$", argument.value))
    return tuple(found)


def _lint_codes() -> tuple[str, ...]:
    calls = (
        ("chains/policy/document", ("Finding", "failed", "Problem")),
        ("chains/policy/authoring", ("Finding", "_warning")),
        ("chains/report/controls", ("Finding", "Problem")),
        ("chains/audit/retention", ("Finding",)),
    )
    found: dict[str, None] = {}
    for folder, callees in calls:
        found |= dict.fromkeys(codes_in_calls(folder, *callees))
    return tuple(sorted(found))


def problem_types() -> tuple[str, ...]:
    """Return the ends of the types of the API's problems."""
    source = (ROOT / "chains/web/api/problems.py").read_text(encoding="utf-8")
    titles = re.findall(r'^    \d{3}: \("([a-z-]+)",', source, re.MULTILINE)
    return (*titles, *re.findall(r'problem\(503, [^\n]*, "([a-z-]+)"\)', source))


def event_reasons() -> tuple[str, ...]:
    """Return the reasons of Events, from the docstrings of the modules that write them."""
    found: dict[str, None] = {}
    for module in (
        "chains/cluster/events.py",
        "chains/recheck/events.py",
        "chains/admission/reporting/events.py",
    ):
        docstring = ast.get_docstring(ast.parse((ROOT / module).read_text(encoding="utf-8"))) or ""
        found |= dict.fromkeys(re.findall(r"^``([A-Z][A-Za-z]+)``", docstring, re.MULTILINE))
    return tuple(found)


_POLICY = {
    "no_evidence": "no store has evidence of the image",
    "evidence_invalid": "there is evidence, and it does not verify",
    "evidence_undecided": "evidence could not be judged",
    "store_unavailable": "a store did not answer, so evidence may be missing",
    "store_rejected": "a store refuses us, or its URL is wrong",
    "builder_not_trusted": "no trust entry names the builder",
    "signer_not_trusted": "a trusted builder is named, by a signer that may not speak for it",
    "predicate_missing": "a demanded statement is missing, or a wrong signer made it",
    "level_too_low": "the builder is trusted up to a lower SLSA build level",
    "build_type_not_allowed": "the build type is not listed",
    "source_missing": "the provenance names no source",
    "source_not_allowed": "the source is not listed",
    "parameter_unknown": "the build had a parameter that the policy does not list",
    "parameter_not_allowed": "a parameter of the build has another value",
    "no_execution_report": "there is no execution report of this run by the signer of its provenance",
    "hermetic_not_proven": "the report does not prove that the run had no network",
    "outcome_not_allowed": "the run ended otherwise",
    "namespace_not_allowed": "the run was in another namespace, or none is known",
    "no_verified_time": "no timestamp and no log says when it was signed",
    "too_old": "the evidence is older than allowed",
    "log_missing": "there is no entry of a trusted log",
    "timestamp_missing": "there is no timestamp of a trusted authority",
    "step_image_not_pinned": "a step's or sidecar's image is not named by digest",
    "step_image_not_allowed": "a step's or sidecar's image is not listed",
    "task_not_pinned": "a task or pipeline has no digest or commit",
    "task_resolver_not_allowed": "another resolver brought the task or pipeline, or none did",
    "hint_rejected": "a result that should name an artifact was not usable",
    "store_without_evidence": "one of the stores lacks the evidence",
    "summary_invalid": "the verification summary breaks its specification",
    "verifier_not_accepted": "the summary is by a verifier that is not accepted",
    "resource_mismatch": "the summary is about the image in another place",
    "summary_policy_not_accepted": "the summary is by a policy that is not accepted",
    "verification_failed": "the summary says FAILED",
    "summary_level_missing": "the summary does not say the demanded level",
    "summary_too_old": "the summary is older than allowed",
    "not_in_summary": "no summary can show what is demanded",
    "rule_failed": "a rule of the policy is false",
    "rule_error": "a rule of the policy cannot be computed",
}
_LINT = {
    "age_without_time": "an age is demanded, and neither a timestamp nor a log, so nobody vouches for the time",
    "all_of_nothing": "a rule uses `all()`, which is true of an empty list",
    "any_of": "one of several names is needed, and none is there",
    "any_run": "evidence of any run of a trusted builder passes",
    "any_registry": "a pattern fits registries of strangers, too",
    "demands_nothing": "a control demands nothing of a report",
    "exempt_from_trust": "an exemption from trust is for images that are not named by digest",
    "exemption": "nothing can be exempt from this, or an exemption from evidence names no digest",
    "exemption_expired": "an exemption has ended",
    "id_twice": "an id comes twice",
    "identity": "an identity needs a name or a regular expression, not both",
    "image": "an image's name cannot be read",
    "key": "a key file cannot be used",
    "level_out_of_reach": "no trusted signer reaches the demanded level",
    "matches_all": "a pattern is for every image of every registry",
    "missing_name": "a name is missing that the document must have",
    "missing_warns": "the policy lets images without any evidence run",
    "name_taken": "a rule has the name of a requirement",
    "name_twice": "a name comes twice",
    "no_default": "no class is for the evidence that no other class has",
    "no_effect": "a part of the document changes nothing",
    "no_trusted_root": "something that is demanded needs a trusted root, and the policy names none",
    "no_run": "a member belongs to a run, and the case has stored evidence",
    "never_matches": "a pattern fits no image",
    "nobody": "nobody may sign",
    "not_yet": "a time is in the future",
    "one_of": "exactly one of several names is needed",
    "or_true": "a rule is always true",
    "pattern": "a pattern cannot be read",
    "placeholder": "a text still is the placeholder of the template",
    "regexp": "a regular expression cannot be used",
    "requirement": "a demand of a control cannot be read",
    "revocation_list_unusable": "a revocation list of the policy cannot be used",
    "rules_not_checked": "the extra `policy` is not installed, so rules were not checked",
    "rule": "a rule cannot be used",
    "source": "a source is no repository",
    "stored_first": "a term counts from the time of the store, which whoever writes to it can choose",
    "too_few": "a list has too few members",
    "trust_twice": "two trust entries name the same builder",
    "twice": "a predicate type comes twice",
    "two_signers": "a case names two signers of one run",
    "unavailable_warns": "the policy lets images run while a store is away",
    "unescaped_dot": "a dot in a regular expression is for any character: write `\\\\.`",
    "unknown_name": "a name that the document cannot have",
    "unknown_rule": "an exemption is from no known requirement or rule",
    "vsa_by_builder": "a signer of builds also signs summaries",
    "vsa_never_counts": "no summary can meet a demand of the policy",
    "vsa_unread": "a summary must exist, and nothing else of it is compared",
    "vsa_without_max_age": "accepted summaries count for ever",
    "vsa_without_policy_digest": "a summary by any version of the verifier's policy counts",
    "window": "a period ends before it begins",
    "wrong_type": "a value has another type",
    "wrong_value": "a value is not one of those that are possible",
}


def _rows(words: Mapping[str, str]) -> dict[str, Row]:
    return {code: (text,) for code, text in words.items()}


def sections() -> list[Section]:
    """Return every list of codes, in the order of the page."""
    guidance = {reason.value: text for reason, text in GUIDANCE.items()}
    guidance |= {"rule_failed": "read the rule's message; whoever wrote the policy chose it"}
    return [
        Section(
            "Verdicts",
            "The first word of [`chains verify`](../verify.md), `verdict` in JSON, and the answer of policies.",
            _codes(Verdict),
            words=_rows({
                "VERIFIED": "there is evidence, and all that was asked for is so; exit code 0",
                "FAILED": "there is evidence, and it is wrong, or something that was asked for is not so; exit code 1",
                "NOT_FOUND": "no store has evidence about it; exit code 3",
                "INDETERMINATE": "it could not be decided, for example because a store is away; exit code 4",
            }),
        ),
        Section(
            "Results of checks",
            "Each line of `chains verify --verbose`; `result` in JSON.",
            _codes(Result),
            words=_rows({
                "pass": "what was asked for is so",
                "fail": "it is not so",
                "skip": "it was not checked; never a pass",
                "error": "it could not be checked; never a pass",
            }),
        ),
        Section(
            "Reasons of verification",
            "Why a check did not pass, or why an attestation was not used: `chains verify`, the index, reports and the evidence "
            "browser.",
            _codes(Reason),
            page="verify.md",
        ),
        Section(
            "Decisions",
            "What follows from a verdict, by the policy's mode: `decision` of policies, `chains_admission_reviews_total`.",
            _codes(Decision),
            words=_rows({
                "allow": "the image may run",
                "warn": "the image may run, and the answer warns; the policy's mode is to warn",
                "deny": "the image may not run",
            }),
        ),
        Section(
            "Reasons of policies",
            "Why a requirement of a [policy](../policy.md) is not met: `chains verify --policy`, `preflight`, "
            "`admission`, `audit --policy`. The requirement stands before it.",
            _codes(PolicyReason),
            words=_rows(_POLICY),
            next_steps=guidance,
        ),
        Section(
            "Reasons of admission",
            "Why the [webhook](../admission.md) does not admit an image that no policy could be asked about.",
            _codes(AdmissionReason),
            words={
                "no_policy": ("no policy is for the image", "write one for it, or exclude the namespace from the webhook"),
                "not_pinned": ("the image is named by tag, and is not changed to its digest", "name it with `@sha256:`"),
                "not_an_image": ("the image's name cannot be read", "correct it"),
                "tag_not_resolved": (
                    "the registry does not say which digest the tag has",
                    "try again; look at the registry and the credentials for it",
                ),
                "object_unreadable": ("the object has no containers that can be read", "correct the object"),
            },
        ),
        Section(
            "Answers to Gatekeeper",
            "What `chains admission` says as an external data provider; other answers are errors.",
            _codes(Known),
            words=_rows({
                "VERIFIED": "it passes the policies",
                "EXEMPT": "an exemption counts for it",
                "UNMATCHED": "no policy is for it",
            }),
        ),
        Section(
            "Problems of documents",
            "`code` of `chains policy lint`, `retention lint` and `report controls`: what is wrong in a document; `message` says where.",
            _lint_codes(),
            words=_rows(_LINT),
        ),
        Section(
            "States of preflight",
            "What [`chains preflight`](../policy.md#preflight) says about an image in a namespace.",
            _codes(PreflightState),
            page="policy.md",
        ),
        Section(
            "States of re-check",
            "What the last round said about an image that runs; `state` of `chains_recheck_images`.",
            _codes(Standing),
            page="admission.md",
        ),
        Section(
            "States of attesting",
            "The result of `chains attest`, `backfill` and the controller for a run; `state` of `chains_runs_total`.",
            _codes(RunState),
            words={
                "signed": ("all of its evidence is signed and stored", ""),
                "failed": ("evidence could not be made or stored", "read the reason; `chains doctor`; then `chains resign`"),
                "skipped": ("the configuration leaves it out, or it has nothing to attest", "read the reason"),
            },
        ),
        Section(
            "States of payloads",
            "One payload in one store.",
            _codes(EntryState),
            words=_rows({
                "stored": "it was stored now",
                "unchanged": "it was there before, byte for byte",
                "failed": "it could not be signed or stored; the reason says why",
                "skipped": "the configuration leaves it out; the reason says why",
            }),
        ),
        Section(
            "Reasons of Events",
            "Events in the cluster, at a run, at `chains-config`, or at a workload.",
            event_reasons(),
            words={
                "AttestationFailed": ("a run is marked as failed", "[ChainsAttestationFailed](../runbooks/ChainsAttestationFailed.md)"),
                "RunQuarantined": (
                    "a run ended the controller several times, or cannot be read; it is marked as failed",
                    "[ChainsRunQuarantined](../runbooks/ChainsRunQuarantined.md)",
                ),
                "RunLost": (
                    "a finished run was deleted before it was attested",
                    "[ChainsRunLost](../runbooks/ChainsRunLost.md)",
                ),
                "ConfigRefused": (
                    "the newest configuration or key is not in force; the last valid one is",
                    "[ChainsConfigRefused](../runbooks/ChainsConfigRefused.md)",
                ),
                "StoreUnavailable": (
                    "a store of the configuration cannot be opened; the others are used",
                    "[ChainsStoreClosed](../runbooks/ChainsStoreClosed.md)",
                ),
                "ImageDoesNotPass": (
                    "an image that runs does not pass the policies, or no longer",
                    "[ChainsImageFails](../runbooks/ChainsImageFails.md)",
                ),
                "ImageDenied": ("the policies do not allow an image; the message is that of the denial", "read the message"),
                "PoliciesRefused": (
                    "the newest policies of the webhook are not in force; the last valid ones are",
                    "[ChainsAdmissionPoliciesRefused](../runbooks/ChainsAdmissionPoliciesRefused.md)",
                ),
                "ImagePasses": ("an image that did not pass does again", ""),
            },
        ),
        Section(
            "Outcomes of runs",
            "How a run ended, in its [execution report](../execution-report.md).",
            _codes(RunOutcome),
            words=_rows({
                "succeeded": "every task that had to succeed did",
                "failed": "a task failed, or the run was refused",
                "cancelled": "somebody cancelled it",
                "timed-out": "it took longer than its time limit",
                "unfinished": "its record does not say that it ended",
            }),
        ),
        Section(
            "Levels of isolation",
            "How far a run was without a network, in its execution report.",
            _codes(Level),
            page="execution-report.md",
        ),
        Section(
            "Attributes of execution reports",
            "What a report can say; [the page](../execution-report.md) has the fields of each.",
            _codes(Attribute),
            words=_rows({
                "RUN_OUTCOME": "how the run ended, and why",
                "RUN_FACTS": "who and what started the run, and where it ran",
                "HERMETIC_LEVEL": "the run's level of isolation",
                "HERMETIC_CHILD_LEVEL": "the level of a child of a PipelineRun",
                "HERMETIC_EXECUTION": "isolation of one container, with the reason",
                "POD_NETWORK": "what the pod's network was, as far as it is known",
                "POD_FACTS": "the pod: node, addresses, service account",
                "RUN_TRIGGER": "the EventListener, the trigger and the event that started the run, as far as it is recorded",
                "POD_SETTINGS": "where the pod of a TaskRun was placed and what it was given",
                "CONTAINER_FACTS": "one container: image, times, how it ended",
                "CHILD_IN_DOUBT": "a child that may not belong to the PipelineRun",
                "CHILD_WITHOUT_RECORD": "a child whose record was not there",
                "SIDECAR_STATE": "how a sidecar ended, if its record is genuine",
                "SIDECAR_REPLACED": "a sidecar whose image Tekton replaced to stop it",
                "FIELD_DROPPED": "a field of the run that Tekton's types do not have",
                "HINT_REJECTED": "a result that should name an artifact and is not usable",
                "IMAGE_WITHOUT_DIGEST": "an image whose digest is not known",
                "TASK_WITHOUT_STEPS": "a task whose steps are not recorded",
            }),
        ),
        Section("States of audits", "What became of a run, in [`chains audit`](../audit.md).", _codes(AuditState), page="audit.md"),
        Section("Reasons of audits", "Why a run has its state.", _codes(Why), page="audit.md"),
        Section(
            "Entries of the ledger", "What an entry of the [ledger](../ledger.md) says.", _codes(EntryKind), page="ledger.md"
        ),
        Section(
            "States of runs in the ledger",
            "What the ledger knows last about a run.",
            _codes(LedgerState),
            words=_rows({
                "open": "seen, and not finished",
                "pending": "finished, and not decided: there may be no evidence yet",
                "evidenced": "evidence is stored; the entry has the receipts",
                "failed": "evidence could not be made or stored; the entry has the reason",
                "skipped": "the configuration leaves the run out; the entry has the reason",
                "removed": "gone before it was decided",
            }),
        ),
        Section(
            "Findings of ledgers",
            "`code` of `chains ledger verify`: what is wrong with a ledger.",
            tuple(sorted({*codes_in_calls("chains/audit/ledger", "Finding", "find"), *_CODES.values(), "tree"})),
            page="ledger.md",
        ),
        Section(
            "States of retention",
            "What becomes of a piece of evidence, in [`chains retention check`](../retention.md).",
            _codes(RetentionState),
            page="retention.md",
        ),
        Section(
            "Problems of retention", "What is wrong with its protection.", _codes(RetentionCode), page="retention.md"
        ),
        Section(
            "Verdicts of the index",
            "What a verification said of an attestation, at the time that the index has: the [HTTP API](../api.md), "
            "[`chains search`](../evidence-index.md), the evidence browser.",
            _codes(IndexVerdict),
            words=_rows({
                "verified": "somebody trusted signed it, and nothing was wrong",
                "failed": "nobody trusted signed it, or something is wrong; `reason` says what",
                "indeterminate": "it could not be decided, for example because a key service did not answer",
            }),
        ),
        Section(
            "States of locks",
            "Whether a store protects an object.",
            _codes(LockState),
            words=_rows({
                "locked": "it has a lock with an end, or a legal hold",
                "none": "anybody who may write to the store can delete it",
                "unknown": "the store does not say",
            }),
        ),
        Section(
            "States of controls",
            "What a report shows for a [control](../controls.md).",
            _codes(ControlState),
            page="controls.md",
        ),
        Section(
            "How an artifact is touched",
            "The answer of [`chains blast-radius`](../blast-radius.md).",
            _codes(Touched),
            page="blast-radius.md",
        ),
        Section(
            "Status of keys",
            "`status` in a [key set](../signers.md).",
            _codes(KeyStatus),
            words=_rows({
                "active": "it signs",
                "retired": "it no longer can sign; what it signed counts",
                "revoked": "its signatures count only with a verified time before the revocation",
            }),
        ),
        Section(
            "Skipped in stores",
            "What a search in a store passed over.",
            _codes(SkipKind),
            words=_rows({
                "unreadable": "it may have been evidence, and cannot be read",
                "foreign": "something else, such as an SBOM",
            }),
        ),
        Section(
            "Pull secrets",
            "`outcome` of `chains_admission_pull_secrets_total`: one look at a Secret or a service account.",
            _codes(pull_secrets.Outcome),
            words={
                "read": ("its credentials are used", ""),
                "forbidden": ("we may not read it", "apply deploy/overlays/admission-pull-secrets, or give the rights"),
                "unusable": ("it has no credentials that can be read", "correct the Secret"),
                "left_out": ("there are more than are looked at for one pod", "name fewer"),
            },
        ),
        Section(
            "States of the doctor", "Each check of [`chains doctor`](../doctor.md).", ("ok", "warning", "failed", "skipped"),
            words=_rows({
                "ok": "nothing is wrong",
                "warning": "something is lost, which the text names",
                "failed": "evidence cannot be made or verified; the text has the next step",
                "skipped": "the check did not run; the text says why",
            }),
        ),
        Section(
            "Problems of the HTTP API",
            "The end of `type` in an error of the [API](../api.md).",
            problem_types(),
            page="api.md",
            words=_rows({
                "wrong-method": "the API only reads: use GET",
                "wrong-host": "the server has another name: ask for the one that it has",
            }),
        ),
    ]  # fmt: skip


def table_rows(page: str, codes: tuple[str, ...]) -> dict[str, Row]:
    """Return the words that a page has for codes: of the table that has most of them."""
    best: dict[str, Row] = {}
    for table in re.findall(r"(?:^\|.*\n)+", (DOCS / page).read_text(encoding="utf-8"), re.MULTILINE):
        found: dict[str, Row] = {}
        for line in table.splitlines():
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            at = 1 if page == "api.md" else 0
            for code in re.findall(r"[\w-]+", re.sub(r"\[|\]\([^)]*\)", "", cells[at])):
                if code in codes:
                    found[code] = tuple(_linked(cell) for cell in cells[at + 1 :])
        best = found if len(found) > len(best) else best
    return best


def _linked(cell: str) -> str:
    """Return a cell with links that lead on from the folder of this page."""
    return re.sub(r"\]\((?!http)", "](../", cell)


def words_of(section: Section) -> dict[str, Row]:
    """Return the words for each code of a section. Codes without words are missing."""
    found = table_rows(section.page, section.codes) if section.page else {}
    return found | dict(section.words)


def reasons_page() -> str:
    """Return the whole page. Raises :class:`KeyError` for a code that nothing explains."""
    return "".join([_INTRO, *(part for section in sections() for part in _section(section))])


def _section(section: Section) -> Iterator[str]:
    words = words_of(section)
    missing = [code for code in section.codes if not words.get(code, ("",))[0]]
    if missing:
        raise KeyError(f"{section.title}: nothing explains {', '.join(missing)}")
    rows = {code: words[code] for code in section.codes}
    if section.title == "States of preflight":
        rows = {code: (row[1], f"exit code {row[0]}") for code, row in rows.items()}
    if section.next_steps:
        rows = {code: (row[0], section.next_steps.get(code, "")) for code, row in rows.items()}
    if section.title in {"States of audits", "Problems of retention"}:
        heading = {"States of audits": "Counts for the coverage", "Problems of retention": "Exit code"}[
            section.title
        ]
    elif section.title == "States of preflight":
        heading = "Exit code"
    else:
        heading = "What to do"
    wide = any(len(row) > 1 and row[1] for row in rows.values())
    yield f"\n## {section.title}\n\n{section.intro}\n\n| Code | Meaning |{f' {heading} |' if wide else ''}\n"
    yield "|---|---|---|\n" if wide else "|---|---|\n"
    for code, row in rows.items():
        more = f" {(row[1] if len(row) > 1 else '')} |" if wide else ""
        yield f"| `{code}` | {row[0]} |{more}\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(reasons_page(), encoding="utf-8")
