"""One module for each kind of page: it asks the source, and fills a template.

Not allowed here: SQL, HTML, what somebody may see.
"""
