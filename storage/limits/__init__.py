"""Limits: how much is held, remembered and asked at a time, for whom, and which hosts answer.

May not come in here: what is asked, and what an answer means.
"""
