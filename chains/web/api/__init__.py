"""The HTTP API ``/api/v1``: the same queries as the pages, as JSON, described by OpenAPI 3.1.

Answers are dataclasses of :mod:`chains.web.api.shapes`; the description is made from them, and tests compare
real answers with it. Errors are problem details (RFC 9457).

Not allowed here: SQL, HTML, who may see what.
"""
