"""The stable codes of policy decisions, all in one place; ``docs/policy.md`` says what each means.

A code is never renamed and never gets another meaning. Codes of evidence itself are in
``chains.verify.reasons``; here are those of what a policy demands beyond it.
"""

from __future__ import annotations

from enum import StrEnum

REVOCATIONS = "revocations"
"""The check of revocation lists. It is no requirement: nothing can be exempt from it."""


class Requirement(StrEnum):
    """What a policy can demand, by the name that exemptions and answers use."""

    EVIDENCE = "evidence"
    TRUST = "trust"
    VSA = "vsa"
    VSA_MAX_AGE = "vsaMaxAge"
    PREDICATES = "predicates"
    LEVEL = "level"
    BUILD_TYPES = "buildTypes"
    SOURCES = "sources"
    EXTERNAL_PARAMETERS = "externalParameters"
    HERMETIC = "hermetic"
    OUTCOME = "outcome"
    NAMESPACES = "namespaces"
    MAX_AGE = "maxAge"
    LOG = "log"
    TIMESTAMP = "timestamp"
    STEP_IMAGES = "stepImages"
    TASKS = "tasks"
    REJECTED_HINTS = "rejectedHints"
    EVERY_STORE = "everyStore"


class PolicyReason(StrEnum):
    """Why a requirement is not met."""

    NO_EVIDENCE = "no_evidence"
    EVIDENCE_INVALID = "evidence_invalid"
    EVIDENCE_UNDECIDED = "evidence_undecided"
    STORE_UNAVAILABLE = "store_unavailable"
    STORE_REJECTED = "store_rejected"
    BUILDER_NOT_TRUSTED = "builder_not_trusted"
    SIGNER_NOT_TRUSTED = "signer_not_trusted"
    PREDICATE_MISSING = "predicate_missing"
    LEVEL_TOO_LOW = "level_too_low"
    BUILD_TYPE_NOT_ALLOWED = "build_type_not_allowed"
    SOURCE_MISSING = "source_missing"
    SOURCE_NOT_ALLOWED = "source_not_allowed"
    PARAMETER_UNKNOWN = "parameter_unknown"
    PARAMETER_NOT_ALLOWED = "parameter_not_allowed"
    NO_EXECUTION_REPORT = "no_execution_report"
    HERMETIC_NOT_PROVEN = "hermetic_not_proven"
    OUTCOME_NOT_ALLOWED = "outcome_not_allowed"
    NAMESPACE_NOT_ALLOWED = "namespace_not_allowed"
    NO_VERIFIED_TIME = "no_verified_time"
    TOO_OLD = "too_old"
    LOG_MISSING = "log_missing"
    TIMESTAMP_MISSING = "timestamp_missing"
    STEP_IMAGE_NOT_PINNED = "step_image_not_pinned"
    STEP_IMAGE_NOT_ALLOWED = "step_image_not_allowed"
    TASK_NOT_PINNED = "task_not_pinned"
    TASK_RESOLVER_NOT_ALLOWED = "task_resolver_not_allowed"
    HINT_REJECTED = "hint_rejected"
    STORE_WITHOUT_EVIDENCE = "store_without_evidence"
    SUMMARY_INVALID = "summary_invalid"
    VERIFIER_NOT_ACCEPTED = "verifier_not_accepted"
    RESOURCE_MISMATCH = "resource_mismatch"
    SUMMARY_POLICY_NOT_ACCEPTED = "summary_policy_not_accepted"
    VERIFICATION_FAILED = "verification_failed"
    SUMMARY_LEVEL_MISSING = "summary_level_missing"
    SUMMARY_TOO_OLD = "summary_too_old"
    NOT_IN_SUMMARY = "not_in_summary"
    RULE_FAILED = "rule_failed"
    RULE_ERROR = "rule_error"
