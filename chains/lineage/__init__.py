"""Lineage: what was made from what, and what is touched by a key, an image, a Task or a commit that went bad.

``statement_facts`` and ``signing`` read one piece of evidence, ``wanted`` compares it with the question.
``graph`` has artifacts and what connects them and knows nothing of evidence, stores or questions. ``collect``
reads stores into a graph; an index can do the same. ``blast_radius`` answers from what was collected, and
``report``, ``drawing`` and ``layered`` write the answer. ``ancestry`` answers what one artifact was made from
and what was made from it; ``family_tree`` and ``family_drawing`` write that.

Not allowed here: what a policy decides; printing.
"""
