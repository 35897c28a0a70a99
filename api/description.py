"""The description of the API: OpenAPI 3.1, made from the registry of endpoints and the shapes."""

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any, Final

import msgspec

from api import problem_types as types
from api.endpoints import (
    COMMON_PROBLEMS,
    ENDPOINTS,
    IDEMPOTENCY_KEY,
    JSON,
    Content,
    Endpoint,
    Header,
    Parameter,
)
from api.handlers import PROBLEM
from api.problem_types import PROBLEM_TYPES, ProblemType
from api.schemas import (
    REFERENCE,
    CreditInDollars,
    CreditInMicros,
    NotPositive,
    ProblemDetails,
)

Document = dict[str, Any]

EMBEDDED: Final = (CreditInDollars, CreditInMicros)
"""Shapes that others name by reference."""
STATUSES: Final = {
    400: "The request is refused.",
    401: "An API key is needed.",
    403: "The API key is not good for this.",
    404: "There is nothing there.",
    408: "The request took too long to arrive.",
    413: "The request is too large.",
    415: "The content type is not read here.",
    422: "The idempotency key names another request.",
    429: "Too much was asked for lately.",
    431: "The head of the request is too large.",
    500: "The amount is not positive, or the server is at fault.",
    501: "The transfer coding is not known here.",
    503: "Not now.",
    505: "The version of HTTP is not spoken here.",
}
_RETRY_AFTER: Final = {
    "description": "Seconds to wait.",
    "required": False,
    "schema": {"type": "integer", "minimum": 1},
}


@cache
def describe() -> Document:
    """The document. It is made once; nobody may change it."""
    components: Document = {}
    for shape in (ProblemDetails, NotPositive, *EMBEDDED):
        _schema(shape, components)
    paths: dict[str, Document] = {}
    for endpoint in ENDPOINTS:
        operation = _operation(endpoint, components)
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "BitBurst",
            "version": version("bitburst"),
            "summary": "A ledger of user balances: every credit counts exactly once.",
            "description": "Amounts are dollars, exact to the micro-dollar. Errors are problem "
            "details (RFC 9457). Every `GET` answers `HEAD` as well; other methods get 405 with an "
            "empty body and `Allow`.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "security": [{}, {"apiKey": []}],
        "components": {
            "securitySchemes": {
                "apiKey": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API key that `bitburst keys create` has made. A server "
                    "that has no keys asks for none.",
                }
            },
            "schemas": components,
            "parameters": {"IdempotencyKey": _parameter(IDEMPOTENCY_KEY, components)},
        },
        "x-problem-types": [
            {
                "type": type_.uri,
                "status": type_.status,
                "title": type_.title,
                "meaning": type_.meaning,
                "remedy": type_.remedy,
            }
            for type_ in PROBLEM_TYPES
        ],
    }


@cache
def encode_description() -> bytes:
    return msgspec.json.encode(describe())


def _schema(shape: Any, components: Document) -> Document:
    """The schema of a shape; what it names is added to the components."""
    (schema,), named = msgspec.json.schema_components([shape], ref_template=REFERENCE)
    components.update(named)
    return schema


def _operation(endpoint: Endpoint, components: Document) -> Document:
    operation: Document = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "description": endpoint.description,
        "responses": _responses(endpoint, components),
    }
    if endpoint.parameters:
        operation["parameters"] = [
            {"$ref": "#/components/parameters/IdempotencyKey"}
            if parameter is IDEMPOTENCY_KEY
            else _parameter(parameter, components)
            for parameter in endpoint.parameters
        ]
    if endpoint.body:
        content = _content(endpoint.body, components)
        operation["requestBody"] = {"required": True, "content": content}
    return operation


def _responses(endpoint: Endpoint, components: Document) -> Document:
    success: Document = {
        "description": endpoint.success,
        "content": _content((endpoint.answer,), components),
    }
    if endpoint.headers:
        success["headers"] = {
            header.name: _header(header, components) for header in endpoint.headers
        }
    responses: Document = {"200": success}
    problems = dict.fromkeys((*endpoint.problems, *COMMON_PROBLEMS))
    for status in sorted({type_.status for type_ in problems}):
        named = [type_ for type_ in problems if type_.status == status]
        responses[str(status)] = _refusal(status, named)
    return responses


def _refusal(status: int, named: Sequence[ProblemType]) -> Document:
    content: Document = {}
    if types.AMOUNT_NOT_POSITIVE in named:
        content[JSON] = {"schema": {"$ref": REFERENCE.format(name=NotPositive.__name__)}}
    uris = [type_.uri for type_ in named if type_ is not types.AMOUNT_NOT_POSITIVE]
    content[PROBLEM[1]] = {
        "schema": {
            "allOf": [{"$ref": REFERENCE.format(name=ProblemDetails.__name__)}],
            "properties": {"type": {"enum": uris}, "status": {"const": status}},
        }
    }
    response: Document = {"description": STATUSES[status], "content": content}
    if status in (429, 503):
        response["headers"] = {"Retry-After": _RETRY_AFTER}
    return response


def _content(contents: Iterable[Content], components: Document) -> Document:
    return {
        content.media_type: {
            "schema": _schema(content.shape, components),
            "examples": {"example": {"value": content.example}},
        }
        for content in contents
    }


def _parameter(parameter: Parameter, components: Document) -> Document:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "required": parameter.place == "path",
        "description": parameter.description,
        "schema": _schema(parameter.shape, components),
        "example": parameter.example,
    }


def _header(header: Header, components: Document) -> Document:
    return {
        "description": header.description,
        "required": False,
        "schema": _schema(header.shape, components),
    }
