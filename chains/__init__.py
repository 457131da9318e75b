"""Chains composes: finished Tekton runs in, signed evidence out.

The only package that knows Tekton and Kubernetes. It has rooms, each a package whose docstring says its
purpose and what may not come in; a room imports what stands below it, never beside it or above
(``CONTRIBUTING.md`` lists them, import-linter holds them). A run goes up through ``tekton``, ``isolation``,
``statements`` and ``attest``. ``verify`` stands beside ``attest``; they share ``statements``
(``docs/decisions/0004``). ``controller`` carries the flow in a cluster. Raw cluster JSON ends in
``tekton.snapshot``; camelCase lives there, in ``statements`` and in ``config`` alone.
"""

from importlib import import_module
from pathlib import Path

DISTRIBUTION = "provenance-chains"
ROOMS = ("signers", "storage")


def shadowed_rooms() -> dict[str, str]:
    """Return the rooms beside this one that another distribution or folder has taken, with where it lies.

    ``signers`` and ``storage`` are names that others have too. What Python finds under them has to be ours
    and to lie beside ``chains``, or half of this project would run with somebody else's code.
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
