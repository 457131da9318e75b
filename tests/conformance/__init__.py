"""Public conformance suites, run through our own commands; none of their files is kept here."""
