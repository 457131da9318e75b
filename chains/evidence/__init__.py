"""Evidence: stored evidence found, copied, and packed for other verifiers.

May not come in here: judging it.
"""
