"""Evidence: stored evidence found, copied, and packed for other verifiers.

Not allowed here: judging it.
"""
