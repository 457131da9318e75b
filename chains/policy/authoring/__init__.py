"""What helps the author of a policy: lint, test cases, explanations, comparisons and a first policy.

Nothing here decides: ``chains.policy`` does.
May not come in: output to a person, formats of other engines.
"""
