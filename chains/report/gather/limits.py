"""What no report of this program covers, in words."""

LIMITS = (
    "Runs that were created and deleted while nothing watched. A gap is shown, its content is not.",
    "What no source recorded. Who controls all sources controls the population.",
    "Anything before the first entry of a ledger, or the first line of a log.",
    "Builds that never were runs of Tekton.",
    "That a task did what its name says. Evidence is as true as its signer.",
    "Whoever holds the controller's key can write false entries from then on, and cannot change what was "
    "timestamped and stored under a lock.",
    "Without a witness or a copy elsewhere, two histories can be shown to two people.",
    "The times of runs are claims of the cluster. Only timestamps and log entries are times of others.",
    "Whether an artifact is safe, reviewed or free of vulnerabilities.",
    "Artifacts of one run after the first 5,000, in order of their digests.",
    "Where artifacts run. Deployment is not part of this report.",
)
"""One sentence for each. ``docs/report.md`` and ``docs/audit.md`` explain them."""
