"""A searchable index of evidence in a database. The only room that knows the database.

Nothing lives in the index that the stores cannot give again: another schema number means a new build.
A verdict is kept with the time of its verification and the digest of its policy, because it is a fact about
that moment only.

Not allowed here: how evidence is verified; what a policy decides; printing. SQLAlchemy is imported where it
is used.
"""
