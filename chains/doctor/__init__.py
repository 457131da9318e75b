"""Doctor: check what the other rooms need, and say the next step.

May not come in here: rules of its own. What fails here must fail in the room that it is about too.
"""
