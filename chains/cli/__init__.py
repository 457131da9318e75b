"""The command line: one module for each command; options in, exit code and text out.

May not come in here: rules, formats, input and output of its own.
"""
