"""Tekton: objects of Tekton and Kubernetes as data: schema, snapshot, names, run files, surroundings.

May not come in here: judgement of what a run did; input and output, except reading run files.
"""
