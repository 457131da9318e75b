"""The command ``report`` and what belongs to it: options in, exit code and text out."""
