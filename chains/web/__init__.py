"""The evidence browser: pages, and an HTTP API over the same queries. It only reads.

Not allowed here: SQL, how evidence is verified or audited, what a policy decides.
"""
