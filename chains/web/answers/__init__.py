"""What one page is about, as typed data: the same for pages and API. Every function runs on one snapshot.

Not allowed here: HTML, HTTP, SQL.
"""
