"""Chains composes: finished Tekton runs in, signed evidence out.

The only room that knows Tekton and Kubernetes. Data flows one way, and a later stage may import an earlier
one, never the reverse: ``snapshot → artifacts → predicates → payload → sign → store → attest``. ``verify``
stands beside the producing side; it shares ``statement`` with it, and for run files alone the predicates
(``docs/decisions/0004``). ``observe → controller → mark`` carries the flow in a cluster. Raw cluster JSON
ends in ``snapshot``; camelCase lives there, in ``predicates`` and in ``config`` alone.
"""
