"""The manual: ``chains help``, its topics, and man pages, all out of the commands themselves.

What a command does and how its options are parsed does not belong here.
"""
