"""The query language of the index: text to a typed query, and a typed query to SQL.

``parse`` turns text into a :class:`~chains.index.query.terms.Query` and never guesses: an unknown key or a
bad value is a :class:`~chains.index.query.errors.QueryError`. ``values`` has the values that a key takes,
``terms`` the query itself, with its canonical text and its words for a person.

Not allowed here: printing, options, how evidence is verified.
"""
