"""The ledger: an append-only record of every run that the controller saw, and of what became of it.

A ledger is a folder with a log for each share of the controller. A log has a file of entries for each UTC
day. A closed day has a signed statement and a checkpoint, and is never changed again: late facts go into the
day that records them. ``docs/ledger.md`` describes the files, ``docs/decisions/0052-the-ledger.md`` says why.

For readers, such as the comparison of a population with evidence::

    state = read_ledger(folder, keys, now)     # chains.audit.ledger.read; raises LedgerError
    state.runs[uid].state                      # RunState; first_seen, finished, decided, reason, receipts
    state.gaps                                 # from, until, reason: what lived wholly inside one is unknown
    state.days                                 # each closed day, and what is wrong with it
    state.problems                             # what is wrong with the ledger; empty if it verifies
    state.until                                # up to this time entries are signed; later ones are not yet

The types are in :mod:`chains.audit.ledger.state`, those of entries in :mod:`chains.audit.ledger.entries`.

Not allowed here: Kubernetes, how evidence is verified, printing.
"""
