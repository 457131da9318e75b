"""Policies: the rule is written once, and every user of it gets the same answer.

A policy document says for which images it is, whom it trusts to build them, and what their evidence must
show. ``load`` reads documents, ``decide`` compares one image's verified evidence with one policy, ``lint``
finds what is wrong with a document before it is used. Rules in CEL need the extra ``policy``.

May come in: what a policy can demand, and how a demand is compared with verified evidence. May not come in:
how evidence is found or its signatures verified (``chains.verify``), how an answer is enforced, formats of
other engines' policies.
"""
