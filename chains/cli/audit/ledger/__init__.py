"""The commands ``ledger``: options, and what is printed. Rules are in :mod:`chains.audit.ledger`."""
