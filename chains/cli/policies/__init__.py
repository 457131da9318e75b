"""Commands for policies: decide, write, test and explain them, and preflight."""
