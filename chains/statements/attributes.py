"""The names of the attributes in an execution report, and the outcomes of a run."""

from __future__ import annotations

from enum import StrEnum


class Attribute(StrEnum):
    """The attributes that a report may have; ``docs/execution-report.md`` describes each."""

    RUN_OUTCOME = "RUN_OUTCOME"
    RUN_FACTS = "RUN_FACTS"
    RUN_TRIGGER = "RUN_TRIGGER"
    HERMETIC_LEVEL = "HERMETIC_LEVEL"
    HERMETIC_CHILD_LEVEL = "HERMETIC_CHILD_LEVEL"
    HERMETIC_EXECUTION = "HERMETIC_EXECUTION"
    POD_NETWORK = "POD_NETWORK"
    POD_FACTS = "POD_FACTS"
    POD_SETTINGS = "POD_SETTINGS"
    CONTAINER_FACTS = "CONTAINER_FACTS"
    CHILD_IN_DOUBT = "CHILD_IN_DOUBT"
    CHILD_WITHOUT_RECORD = "CHILD_WITHOUT_RECORD"
    SIDECAR_STATE = "SIDECAR_STATE"
    SIDECAR_REPLACED = "SIDECAR_REPLACED"
    FIELD_DROPPED = "FIELD_DROPPED"
    HINT_REJECTED = "HINT_REJECTED"
    IMAGE_WITHOUT_DIGEST = "IMAGE_WITHOUT_DIGEST"
    TASK_WITHOUT_STEPS = "TASK_WITHOUT_STEPS"


class RunOutcome(StrEnum):
    """The outcome of a run."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed-out"
    UNFINISHED = "unfinished"
