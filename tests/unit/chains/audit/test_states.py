"""Every room that shows runs knows every state of an audit."""

from __future__ import annotations

from typing import get_args

from chains.audit.findings import COUNTED, State
from chains.report.charts.charts import _OF_STATE
from chains.report.document import format as document
from chains.report.forms.evidence import _WORST
from chains.web.files.audits import NOT_COUNTED, STATES

EVERY = {state.value for state in State}
WANTED = {state.value for state in COUNTED}


def test_a_report_has_a_count_a_chart_and_a_place_for_each_state() -> None:
    assert (
        set(document.STATES) == set(get_args(document.State)) == set(document.Counts.__annotations__) == EVERY
    )
    assert set(document.COUNTED) == WANTED
    assert set(_OF_STATE) == EVERY
    assert set(_WORST) == EVERY - {State.EVIDENCED}


def test_the_pages_count_the_states_of_which_evidence_is_demanded() -> None:
    assert set(STATES) == EVERY - {State.EVIDENCED}
    assert EVERY - NOT_COUNTED == WANTED
