"""Inspection: the evidence about one image, run or file, put together for a person to read.

``contents`` asks a verifier and keeps what it confirmed, or, where nobody is trusted, what is only claimed.
``provenance`` and ``report`` read one statement each into ``facts``; ``page`` puts those of one build
together and says what is missing; ``page_text`` writes the page. ``differences`` compares two pages.

Not allowed here: who is trusted and what verifies (verify), opening stores, printing.
"""
