"""Doctor: tries what the other rooms need, and says the next step.

May not come in here: rules of its own; what fails here has to fail in the room that it is about too.
"""
