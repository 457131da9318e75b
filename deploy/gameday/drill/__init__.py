"""Game days: faults in a cluster that are limited, undone, and judged by evidence.

Uses the standard library, ``kubectl`` and ``chains audit``. ``limit`` says what may be touched, ``journal``
remembers how to undo it, ``scenarios/`` has the faults, ``play`` plays one.
"""
