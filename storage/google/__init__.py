"""Google: what the stores of its services share: its credentials, and its libraries' errors.

May not come in here: what one service alone needs.
"""
