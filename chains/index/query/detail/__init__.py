"""What an index has about one thing: an attestation, a run, an input, a namespace, a signer.

Every function takes a :class:`~chains.index.query.scope.View` and returns only what may be seen through it.
Ids of attestations that a function takes are those of :class:`~chains.index.query.rows.Hit`, which were seen.

Not allowed here: printing, HTML, how evidence is verified.
"""
