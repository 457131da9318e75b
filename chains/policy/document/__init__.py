"""Policy documents as data: their names and shapes, read from files with the place of every problem.

May come in: what a document can say, patterns, and the frozen policy that it becomes. May not come in: keys
that are opened, evidence, answers.
"""
