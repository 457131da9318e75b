"""The controller's ledger: what becomes an entry, who writes it, and when a day is closed.

May come in here: facts from runs and outcomes, the thread that appends, the closing of days. May not: the
form of a ledger (:mod:`chains.audit.ledger`), requests to the API server.
"""
