"""Attest: the flow for one run: payloads, signatures, receipts, and one outcome.

Allowed here: everything between a frozen run and its receipts, for the command and the controller. Not
allowed: Kubernetes, options of commands, verification.
"""
