"""What to do where a requirement is not met: one sentence for each reason."""

from __future__ import annotations

from chains.policy.reasons import PolicyReason as Reason

GUIDANCE = {
    Reason.NO_EVIDENCE: (
        "build the image with a pipeline that is attested, or ask whoever built it for evidence"
    ),
    Reason.EVIDENCE_INVALID: (
        "do not run the image: its evidence was changed after it was signed; find out who did"
    ),
    Reason.STORE_UNAVAILABLE: "try again when every store answers; chains doctor shows which one does not",
    Reason.BUILDER_NOT_TRUSTED: (
        "build with a builder that the policy trusts, or add a trust entry for this one"
    ),
    Reason.SIGNER_NOT_TRUSTED: (
        "the builder's own signer has to sign: compare the trust entry's keys with the signer"
    ),
    Reason.PREDICATE_MISSING: (
        "produce and sign a statement of this type, by a signer that the policy accepts for it"
    ),
    Reason.LEVEL_TOO_LOW: "build with a builder that is trusted up to the level that is demanded",
    Reason.BUILD_TYPE_NOT_ALLOWED: (
        "build with a listed build type, or list this one after reading its definition"
    ),
    Reason.SOURCE_MISSING: "let the task report its source: results CHAINS-GIT_URL and CHAINS-GIT_COMMIT",
    Reason.SOURCE_NOT_ALLOWED: "build from a listed repository, or list this one",
    Reason.PARAMETER_UNKNOWN: "list the parameter with the values it may have, or build without it",
    Reason.PARAMETER_NOT_ALLOWED: "build with an allowed value, or allow this one",
    Reason.NO_EXECUTION_REPORT: (
        "let the controller write execution reports: execution.report is true by default"
    ),
    Reason.HERMETIC_NOT_PROVEN: "run every step hermetically; docs/execution-report.md says what proves it",
    Reason.OUTCOME_NOT_ALLOWED: "use the image of a run that ended as demanded",
    Reason.NAMESPACE_NOT_ALLOWED: "build in a listed namespace",
    Reason.NO_VERIFIED_TIME: "sign with a timestamp authority or a log, and give the policy its trusted root",
    Reason.TOO_OLD: "build the image again",
    Reason.LOG_MISSING: "upload to a transparency log: transparency.enabled",
    Reason.TIMESTAMP_MISSING: "sign with a timestamp authority",
    Reason.STEP_IMAGE_NOT_PINNED: "name every step's image with @sha256:",
    Reason.STEP_IMAGE_NOT_ALLOWED: "use step images of a listed repository, or list this one",
    Reason.TASK_NOT_PINNED: "bring tasks through a resolver that reports a digest or commit",
    Reason.TASK_RESOLVER_NOT_ALLOWED: "bring the task or pipeline through a listed resolver",
    Reason.HINT_REJECTED: "correct the result that is rejected; the execution report says why",
    Reason.STORE_WITHOUT_EVIDENCE: "copy the evidence to the other stores: chains copy",
    Reason.RULE_FAILED: "",
    Reason.RULE_ERROR: "correct the rule: chains policy test shows what it sees",
}
