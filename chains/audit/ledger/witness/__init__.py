"""Witnesses of a ledger: others who sign the head of a log if it only grew since they saw it last.

A log that shows two histories gets the signature of a witness for one of them at most. Sources: C2SP
``tlog-witness`` 1.0, ``tlog-cosignature`` 1.0, ``signed-note``.

Not allowed here: which witnesses are configured, when they are asked.
"""
