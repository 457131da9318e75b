"""Who may see what in the browser and the API: identities, namespaces, sessions, limits, and a log of it all.

A request is believed to be somebody's by a header of a reverse proxy, by a session after a login with OpenID
Connect, or by a bearer token. What they may see is said by one file, and carried out in SQL by
:mod:`chains.index.query.scope`.

Not allowed here: what a page shows, queries, evidence.
"""
