"""Policies for other admission engines, written from ours: one module for each target.

May come in: how an engine's documents, globs and expressions are written, and what it cannot express. May not
come in: evidence, verdicts, network. ``targets`` has the table of targets, ``generated`` what each returns,
``demands`` what is the same for all.
"""
