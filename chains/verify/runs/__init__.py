"""Verification of runs: the evidence of an exported run, and what Tekton changes after a run has ended."""
