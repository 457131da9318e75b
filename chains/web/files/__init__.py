"""Files beside the index: results of audits, reports, policies, a ledger, records of runs.

They are only read. Not allowed here: HTML, HTTP.
"""
