"""Tekton: its objects and those of Kubernetes as data: schema, snapshot, names, run files, surroundings.

May not come in here: judgement of what a run did; input and output beside reading files of runs.
"""
