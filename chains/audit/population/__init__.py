"""Which runs there were: sources of finished runs, and what each of them can and cannot show.

Not allowed here: evidence, stores, and what a missing run means.
"""
