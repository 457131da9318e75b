"""The formats of provenance, with the names that they have in Tekton Chains' configuration."""

from __future__ import annotations

from enum import StrEnum


class Format(StrEnum):
    """A value of ``artifacts.taskrun.format``; :mod:`chains.statements.provenance` builds each."""

    IN_TOTO = "in-toto"
    SLSA_V1 = "slsa/v1"
    SLSA_V2ALPHA3 = "slsa/v2alpha3"
    SLSA_V2ALPHA4 = "slsa/v2alpha4"


FORMATS = tuple(map(str, Format))
V02_FORMATS = frozenset((Format.IN_TOTO, Format.SLSA_V1))
"""Both names mean SLSA provenance v0.2. The other formats are v1.0."""
