"""Makes a report from an audit: what verification found about each run, and everything beside the runs."""
