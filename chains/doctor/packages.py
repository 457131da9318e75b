"""The check of the installation: whether another distribution has overwritten a part of this one."""

from __future__ import annotations

from importlib.metadata import packages_distributions

from chains import DISTRIBUTION, ROOMS
from chains.doctor.report import DoctorCheck


def check_packages() -> DoctorCheck:
    """Check that ``signers`` and ``storage`` belong only to this distribution.

    If another distribution has them in a different folder, importing :mod:`chains` already fails. In the same
    folder it overwrites single files, and the mixture works until a missing file is needed.
    """
    owners = packages_distributions()
    others = {
        name: sorted(set(owners.get(name, ())) - {DISTRIBUTION})
        for name in ROOMS
        if set(owners.get(name, ())) - {DISTRIBUTION}
    }
    if not others:
        return DoctorCheck("packages", "ok", f"{', '.join(ROOMS)} are of {DISTRIBUTION} alone")
    told = "; ".join(f"{name} is also of {', '.join(found)}" for name, found in others.items())
    step = (
        f"uninstall the other distribution and install {DISTRIBUTION} again, or give it its own environment"
    )
    return DoctorCheck("packages", "failed", told, step)
