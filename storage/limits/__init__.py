"""Limits on memory, remembered entries and concurrent requests, per caller; and which hosts answer.

Not allowed here: the content of requests and the meaning of answers.
"""
