"""What an index does besides reading stores from their beginning to their end.

May come in here: verdicts by policies, evidence that is gone, evidence that is read again. May not: tables
(:mod:`chains.index.tables`), what a policy decides (:mod:`chains.policy`).
"""
