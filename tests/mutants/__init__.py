"""Mutation tests of the modules that decide what is true: ``python3 dev.py mutants``."""
