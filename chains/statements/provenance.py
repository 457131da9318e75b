"""The function that builds each format of provenance."""

from __future__ import annotations

from collections.abc import Callable

from chains.statements import slsa_v02, slsa_v1
from chains.statements.formats import Format
from chains.statements.slsa_v1 import Options
from chains.statements.statement import Statement
from chains.tekton.snapshot import RunSnapshot

BUILDERS: dict[str, Callable[[RunSnapshot, Options], Statement]] = {
    Format.IN_TOTO: slsa_v02.build,
    Format.SLSA_V1: slsa_v02.build,
    Format.SLSA_V2ALPHA3: slsa_v1.build_v2alpha3,
    Format.SLSA_V2ALPHA4: slsa_v1.build_v2alpha4,
}
