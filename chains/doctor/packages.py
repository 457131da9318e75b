"""What ``chains doctor`` says of the installation: whether another distribution has taken a part of it."""

from __future__ import annotations

from importlib.metadata import packages_distributions

from chains import DISTRIBUTION, ROOMS
from chains.doctor.report import DoctorCheck


def check_packages() -> DoctorCheck:
    """Say whether ``signers`` and ``storage`` belong to this distribution alone.

    One that lies elsewhere ends the import of :mod:`chains` already. One in the same folder overwrites single
    files, and what is left of both works until a file is missed.
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
