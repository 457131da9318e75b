"""Real components: built by :mod:`tests.testbed.build`, run by :mod:`tests.testbed.servers`."""
