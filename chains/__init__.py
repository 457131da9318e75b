"""Chains composes: finished Tekton runs in, signed evidence out.

The only room that knows Tekton and Kubernetes. Data flows one way, and a later stage may import an earlier
one, never the reverse: ``snapshot → artifacts → predicates → payload → sign → store → attest``. ``verify``
stands beside the producing side; it shares ``statement`` with it, and for run files alone the predicates
(``docs/decisions/0004``). ``observe → controller → mark`` carries the flow in a cluster. Raw cluster JSON
ends in ``snapshot``; camelCase lives there, in ``predicates`` and in ``config`` alone.
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
