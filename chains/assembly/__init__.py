"""Assembly: from a configuration to open signers, stores, images' reader and trust.

May come in here: opening what a configuration or an option names, and what was chosen where nothing names it.
May not: the flow itself, printing. What was chosen where nothing names it goes to ``tell``, which the command
gives.
"""
