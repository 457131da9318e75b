"""Attest: the flow for one run: payloads, signatures, receipts, and one outcome.

May come in here: what happens between a frozen run and its receipts, for the command line and the controller
alike. May not: Kubernetes, options of commands, verification.
"""
