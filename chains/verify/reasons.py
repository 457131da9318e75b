"""The stable codes of verification. ``docs/verify.md`` explains each.

A code is never renamed and never changes its meaning: dashboards and policies depend on it.
"""

from __future__ import annotations

from enum import StrEnum

REVOCATION = "revocation"
"""The check that fails where a revocation list names the evidence or the artifact."""


class Result(StrEnum):
    """The answer to one check. ``skip`` and ``error`` are never a pass."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    SKIP = "skip"
    ERROR = "error"


WRONG = frozenset({Result.FAIL, Result.ERROR})
"""Results that keep evidence from being used, and a verdict from VERIFIED."""


class Reason(StrEnum):
    """Why a check did not pass, or why an attestation was not used."""

    NO_ATTESTATION = "no_attestation"
    UNREADABLE = "unreadable"
    DIGEST_MISMATCH = "digest_mismatch"
    NOT_AN_ATTESTATION = "not_an_attestation"
    KEYLESS_UNSUPPORTED = "keyless_unsupported"
    KEY_UNKNOWN = "key_unknown"
    SIGNATURE_INVALID = "signature_invalid"
    PAYLOAD_TYPE_MISMATCH = "payload_type_mismatch"
    KEY_OUTSIDE_WINDOW = "key_outside_window"
    KEY_REVOKED = "key_revoked"
    REVOKED = "revoked"
    REVOCATION_LIST_UNUSABLE = "revocation_list_unusable"
    KEY_HINT_MISMATCH = "key_hint_mismatch"
    STATEMENT_INVALID = "statement_invalid"
    SUBJECT_MISMATCH = "subject_mismatch"
    RUN_MISMATCH = "run_mismatch"
    EXTERNAL_PARAMETER_UNKNOWN = "external_parameter_unknown"
    PREDICATE_TYPE_MISMATCH = "predicate_type_mismatch"
    BUILDER_NOT_TRUSTED = "builder_not_trusted"
    BUILD_TYPE_MISMATCH = "build_type_mismatch"
    HERMETIC_NOT_PROVEN = "hermetic_not_proven"
    NAMESPACE_MISMATCH = "namespace_mismatch"
    TASK_REF_MISMATCH = "task_ref_mismatch"
    PIPELINE_REF_MISMATCH = "pipeline_ref_mismatch"
    SOURCE_MISMATCH = "source_mismatch"
    NO_EXECUTION_REPORT = "no_execution_report"
    NO_PROVENANCE = "no_provenance"
    NOT_COMPARED = "not_compared"
    NOT_CHECKED = "not_checked"
    CERTIFICATE_UNKNOWN = "certificate_unknown"
    CERTIFICATE_INVALID = "certificate_invalid"
    SCT_MISSING = "sct_missing"
    SCT_INVALID = "sct_invalid"
    EXPIRED = "expired"
    IDENTITY_MISMATCH = "identity_mismatch"
    ISSUER_MISMATCH = "issuer_mismatch"
    TLOG_MISSING = "tlog_missing"
    TLOG_INVALID = "tlog_invalid"
    TIMESTAMP_MISSING = "timestamp_missing"
    TIMESTAMP_INVALID = "timestamp_invalid"
    TIMESTAMP_OUTSIDE_CERT = "timestamp_outside_cert"
    TIME_IN_FUTURE = "time_in_future"
    MATERIAL_INVALID = "material_invalid"
    STORE_UNAVAILABLE = "store_unavailable"
    TARGET_UNREADABLE = "target_unreadable"
    INTERNAL_ERROR = "internal_error"
