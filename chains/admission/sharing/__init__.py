"""Answers that the processes of one server share: the first process keeps them, the others ask it.

The first process and each other one have a pair of sockets, which is made before the fork and has no name:
nothing outside the server's processes can reach it. May not come in: what an answer says.
"""
