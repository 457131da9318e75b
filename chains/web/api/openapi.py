"""The description of the API (OpenAPI 3.1), made from its routes and the types of their answers.

``docs/openapi.json`` is a copy of it: ``python -m chains.web.api > docs/openapi.json`` writes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import orjson

from chains.web.api.route import Parameter, Route
from chains.web.api.shapes import Problem
from chains.web.api.written import Schemas

VERSION: Final = "1.0.0"
"""Of the API. Fields may be added to an answer without a new one."""
OPENAPI: Final = "application/vnd.oai.openapi+json;version=3.1"
_USUAL: Final = {
    400: "the request cannot be understood",
    401: "nobody is logged in, or the token does not count",
    403: "the viewer may see no namespace",
    429: "too many requests; Retry-After says when one may be made",
    503: "the index or the stores cannot be read now",
}
_MORE: Final = {404: "there is nothing with this name, or the viewer may not see it"}
_TEXT: Final = (
    "Evidence of an index, read-only. Every answer has only what the viewer may see. Errors are problem "
    "details (RFC 9457). Answers have an ETag; a request with If-None-Match is answered with 304 if nothing "
    "changed."
)


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """Return the description of the API."""
    schemas = Schemas()
    paths = {route.path: {"get": _operation(route, schemas)} for route in routes}
    paths["/badge/sha256/{file}"] = {"get": _BADGE}
    schemas.of(Problem)
    return {
        "openapi": "3.1.0",
        "jsonSchemaDialect": "https://spec.openapis.org/oas/3.1/dialect/base",
        "info": {
            "title": "provenance-chains evidence API",
            "version": VERSION,
            "description": _TEXT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "a token of the access file, or of the OpenID Connect issuer",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "__Host-chains",
                    "description": "the session of a login in the browser",
                },
            },
        },
    }


def written(described: dict[str, Any]) -> bytes:
    """Return the description as its file has it."""
    return orjson.dumps(described, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _operation(route: Route, schemas: Schemas) -> dict[str, Any]:
    errors = {**_USUAL, **{status: _MORE[status] for status in route.errors}}
    return {
        "operationId": route.name,
        "summary": route.summary,
        "description": route.text,
        "parameters": [_parameter(one) for one in route.parameters],
        "responses": {
            "200": {
                "description": "the answer",
                "headers": {"ETag": {"schema": {"type": "string"}, "description": "of these bytes"}},
                "content": {"application/json": {"schema": schemas.of(route.answer)}},
            },
            "304": {"description": "the caller has the answer"},
            **{str(status): _problem(text) for status, text in sorted(errors.items())},
        },
    }


def _parameter(one: Parameter) -> dict[str, Any]:
    return {
        "name": one.name,
        "in": "path" if one.is_path else "query",
        "required": one.is_path,
        "description": one.text,
        "schema": dict(one.schema),
    }


def _problem(text: str) -> dict[str, Any]:
    return {
        "description": text,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


_BADGE: Final[dict[str, Any]] = {
    "operationId": "getBadge",
    "summary": "A badge for an image",
    "description": 'A picture that says "confirmed 28 Nov 2026", "not confirmed" or "unknown", by the index.',
    "parameters": [
        {
            "name": "file",
            "in": "path",
            "required": True,
            "description": "the SHA-256 of the image in hex, and .svg",
            "schema": {"type": "string", "pattern": "^[0-9a-f]{64}\\.svg$"},
        }
    ],
    "responses": {
        "200": {"description": "the picture", "content": {"image/svg+xml": {"schema": {"type": "string"}}}},
        "304": {"description": "the caller has the picture"},
        "401": _problem(_USUAL[401]),
        "404": _problem("the path names no SHA-256"),
        "503": {"description": "the picture that says unknown", "content": {"image/svg+xml": {}}},
    },
}
