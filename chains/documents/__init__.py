"""Documents: JSON and YAML from strangers, read within limits.

May not come in here: what a document means.
"""
