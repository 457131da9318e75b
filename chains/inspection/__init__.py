"""Inspection: the evidence about one image, run or file, put together for a person to read.

``contents`` asks a verifier and keeps what it confirmed, or, where nobody is trusted, what is only claimed;
``named_run`` matches a run that is known by name alone. ``provenance`` and ``report`` read one statement each
into ``facts``; ``page`` puts those of one build together and says what is missing, ``policy_page`` does so
below a policy's answer, and ``page_text`` writes the page. ``differences`` compares two pages.

Not allowed here: who is trusted and what verifies (verify), opening stores, printing.
"""
