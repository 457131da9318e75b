"""Chains composes: finished Tekton runs in, signed evidence out.

The names of ``__all__`` are the library (``docs/python.md``). Each is imported when it is used for the first
time, so ``import chains`` costs next to nothing. Everything else is private and may move.

Only this package knows Tekton and Kubernetes. Its rooms are packages; the docstring of each says its purpose
and what does not belong there. A room imports the rooms below it, never one at its own level or above
(``CONTRIBUTING.md`` lists them, import-linter checks them). A run passes through ``tekton``, ``isolation``,
``statements`` and ``attest``; evidence is judged in ``verify``, which shares ``statements`` with ``attest``
(``docs/decisions/0004``). ``controller`` runs the flow in a cluster.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chains.assembly.flow import open_flow
    from chains.assembly.revocations import open_revocations
    from chains.attest.flow import Flow
    from chains.attest.outcome import Outcome
    from chains.attest.payloads import build_provenance
    from chains.attest.stores import Entry
    from chains.config.lint import lint_config
    from chains.config.parse import Config, load_config, parse_config
    from chains.errors import ChainsError, ConfigError, EvidenceError, InputError, UsageError
    from chains.isolation.judgement import Isolation, judge_isolation
    from chains.policy.document.load import PolicyError
    from chains.policy.loaded import Policy, UnmatchedError
    from chains.policy.reasons import PolicyReason
    from chains.policy.verdict import Decision, ImageAnswer, PolicyCheck, PolicyVerdict
    from chains.revocation.revocations import Revocations
    from chains.statements.execution_report import build_execution_report
    from chains.statements.statement import ResourceDescriptor, Statement, parse_statement
    from chains.tekton.read_runs import Runs, read_runs
    from chains.tekton.snapshot import RunSnapshot, take_snapshot
    from chains.tekton.surroundings import Surroundings, parse_surroundings
    from chains.verify.criteria import CertificateWanted, Criteria, NameWanted
    from chains.verify.reasons import Reason
    from chains.verify.verdict import Check, Verdict, Verification, VerificationFailed
    from chains.verify.verifier import Verifier

__all__ = [  # noqa: RUF022 - in the order of the work
    "Config", "parse_config", "load_config", "lint_config",  # config
    "RunSnapshot", "take_snapshot", "Runs", "read_runs", "Surroundings", "parse_surroundings",  # tekton
    "Statement", "ResourceDescriptor", "parse_statement", "build_provenance",  # statements
    "build_execution_report",
    "Isolation", "judge_isolation",  # isolation
    "Flow", "open_flow", "Outcome", "Entry",  # attest
    "Criteria", "CertificateWanted", "NameWanted", "Verifier", "Verification", "Verdict",  # verify
    "Check", "Reason",
    "Revocations", "open_revocations",  # revocation
    "Policy", "ImageAnswer", "PolicyVerdict", "PolicyCheck", "PolicyReason", "Decision",  # policy
    "ChainsError", "UsageError", "ConfigError", "InputError", "EvidenceError", "VerificationFailed",  # errors
    "PolicyError", "UnmatchedError",
]  # fmt: skip
_HOMES = {
    "chains.config.parse": ("Config", "parse_config", "load_config"),
    "chains.config.lint": ("lint_config",),
    "chains.tekton.snapshot": ("RunSnapshot", "take_snapshot"),
    "chains.tekton.read_runs": ("Runs", "read_runs"),
    "chains.tekton.surroundings": ("Surroundings", "parse_surroundings"),
    "chains.statements.statement": ("Statement", "ResourceDescriptor", "parse_statement"),
    "chains.attest.payloads": ("build_provenance",),
    "chains.statements.execution_report": ("build_execution_report",),
    "chains.isolation.judgement": ("Isolation", "judge_isolation"),
    "chains.attest.flow": ("Flow",),
    "chains.assembly.flow": ("open_flow",),
    "chains.attest.outcome": ("Outcome",),
    "chains.attest.stores": ("Entry",),
    "chains.revocation.revocations": ("Revocations",),
    "chains.assembly.revocations": ("open_revocations",),
    "chains.policy.loaded": ("Policy", "UnmatchedError"),
    "chains.policy.verdict": ("ImageAnswer", "PolicyVerdict", "PolicyCheck", "Decision"),
    "chains.policy.reasons": ("PolicyReason",),
    "chains.policy.document.load": ("PolicyError",),
    "chains.verify.criteria": ("Criteria", "CertificateWanted", "NameWanted"),
    "chains.verify.verifier": ("Verifier",),
    "chains.verify.verdict": ("Verification", "Verdict", "Check", "VerificationFailed"),
    "chains.verify.reasons": ("Reason",),
    "chains.errors": ("ChainsError", "UsageError", "ConfigError", "InputError", "EvidenceError"),
}
"""The module of each public name, which is imported when the name is used for the first time."""


__version__ = "0.1.0"
"""The version of all three packages. The build of the wheel reads it here, and it holds without metadata of
an installation, too."""
DISTRIBUTION = "provenance-chains"
ROOMS = ("signers", "storage")


def __getattr__(name: str) -> Any:
    """Import a public name where it is used for the first time (PEP 562)."""
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def shadowed_rooms() -> dict[str, str]:
    """Return each of ``signers`` and ``storage`` that belongs to another distribution, with its path.

    Other distributions have packages of these names too. What Python finds has to be ours and to lie beside
    ``chains``, or half of this project would run with somebody else's code.
    """
    home = Path(__file__).resolve().parent.parent
    found = {}
    for name in ROOMS:
        try:
            module = import_module(name)
        except ImportError as error:
            found[name] = f"nothing ({error})"
            continue
        paths = [Path(path).resolve() for path in module.__path__]
        if getattr(module, "DISTRIBUTION", "") != DISTRIBUTION or paths != [home / name]:
            found[name] = ", ".join(map(str, paths)) or "nothing"
    return found


if _shadowed := shadowed_rooms():
    _named = "; ".join(f"{name} is {place}" for name, place in _shadowed.items())
    raise ImportError(
        f"another package shadows a part of {DISTRIBUTION}: {_named}; expected it beside "
        f"{Path(__file__).parent}: uninstall the other distribution, leave the folder that has one of that "
        "name, or use an environment of its own"
    )
