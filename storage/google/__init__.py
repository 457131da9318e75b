"""What the stores of Google's services share: credentials, and the exceptions of Google's libraries.

Not allowed here: what only one service needs.
"""
