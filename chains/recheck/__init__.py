"""Re-check: whether what runs in a cluster still passes the policies, asked again on a schedule.

``pods`` gathers the images that run, ``standing`` remembers what was said about each and finds what changed,
``events`` tells it to the cluster, ``metrics`` counts, ``rounds`` does all this again and again in one
process of all.

May come in: when running images are asked about again, and who is told. May not come in: what a policy
decides, how an image is asked about (preflight does that), how admission answers.
"""
