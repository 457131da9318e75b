"""Assembly: from a configuration to open signers, stores, flow and trust.

Allowed here: opening what a configuration or an option names, and defaults where nothing is named. Not
allowed: the flow itself, printing. The callback ``tell`` of the command reports which default was chosen.
"""
