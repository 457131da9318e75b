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
    Reason.STORE_REJECTED: (
        "correct the store's URL or our credentials for it: chains doctor shows which one refuses"
    ),
    Reason.EVIDENCE_UNDECIDED: (
        "remove what the answer lists as unreadable, compare this machine's clock with the times of the "
        "evidence, and report an internal error"
    ),
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
    Reason.SUMMARY_INVALID: "ask the verifier for a summary as SLSA 1.2 defines it",
    Reason.VERIFIER_NOT_ACCEPTED: (
        "let the verifier sign with its own key and id, or accept this pair of signer and id"
    ),
    Reason.RESOURCE_MISMATCH: (
        "let the verifier verify the image where it is pulled from, as REGISTRY/REPOSITORY@sha256:HEX"
    ),
    Reason.SUMMARY_POLICY_NOT_ACCEPTED: (
        "let the verifier verify by the policy that is accepted, or accept this policy after reading it"
    ),
    Reason.VERIFICATION_FAILED: (
        "do not run the image: its verifier refused it; ask the verifier why, or let it verify again"
    ),
    Reason.SUMMARY_LEVEL_MISSING: "let the verifier state what is demanded, once it has verified it",
    Reason.SUMMARY_TOO_OLD: "let the verifier verify the image again",
    Reason.NOT_IN_SUMMARY: (
        "demand it in the policy that the verifier verifies, and accept that policy's digest; here, only "
        "provenance can show it"
    ),
    Reason.RULE_FAILED: "",
    Reason.RULE_ERROR: "correct the rule: chains policy test shows what it sees",
}
