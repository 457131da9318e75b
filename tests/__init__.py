"""Tests, one folder for each kind; real servers come from :mod:`tests.testbed`."""
