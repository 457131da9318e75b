"""Documents: JSON and YAML that strangers had a hand in, read within bounds.

May not come in here: what a document means.
"""
