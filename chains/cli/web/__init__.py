"""The command ``web``."""
