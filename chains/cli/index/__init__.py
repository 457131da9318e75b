"""The commands that find evidence and show it to a person.

Not allowed here: rules, formats, database access of their own.
"""
