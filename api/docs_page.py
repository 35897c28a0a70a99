"""The description of the API as one page to be read, made from the same document as for tools."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from api.bulk_wire import NDJSON
from api.description import Document, describe
from api.endpoints import COMMON_PROBLEMS, ENDPOINTS
from api.problem_types import PROBLEM_TYPES

CONTENT_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
"""The page is whole: a browser loads nothing for it, from here or elsewhere."""
_CODE: Final = re.compile(r"`([^`]+)`")


@cache
def render_docs() -> bytes:
    """The page, in UTF-8. It is made once."""
    environment = Environment(
        loader=PackageLoader("api", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"prose": _prose, "kind": _kind, "example": _example}
    document = describe()
    template = environment.get_template("docs_page.html")
    page = template.render(
        document=document,
        operations=list(_operations(document)),
        idempotency_key=document["components"]["parameters"]["IdempotencyKey"],
        problem_types=PROBLEM_TYPES,
        common_problems=COMMON_PROBLEMS,
        schemas=document["components"]["schemas"],
    )
    return page.encode()


def _operations(document: Document) -> Iterator[Document]:
    parameters = document["components"]["parameters"]
    own = {endpoint.name: endpoint.problems for endpoint in ENDPOINTS}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            named = [
                parameters[parameter["$ref"].rpartition("/")[2]]
                if "$ref" in parameter
                else parameter
                for parameter in operation.get("parameters", ())
            ]
            yield {
                **operation,
                "path": path,
                "method": method.upper(),
                "parameters": named,
                "problems": own[operation["operationId"]],
            }


def _prose(text: str) -> Markup:
    """Paragraphs, with `code`."""
    return Markup("").join(
        Markup("<p>{}</p>").format(Markup(_CODE.sub(r"<code>\1</code>", str(escape(paragraph)))))
        for paragraph in text.split("\n\n")
    )


def _kind(schema: Mapping[str, Any]) -> Markup:
    """What a schema asks for, in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return Markup('<a href="#{0}">{0}</a>').format(name)
    if "anyOf" in schema:
        return Markup(" or ").join(map(_kind, schema["anyOf"]))
    if "enum" in schema:
        return Markup(" or ").join(
            Markup("<code>{}</code>").format(json.dumps(value)) for value in schema["enum"]
        )
    if schema.get("maxProperties") == 0:
        return Markup("<code>{}</code>")
    if schema.get("type") == "array":
        return Markup("array of {}").format(_kind(schema["items"]))
    return Markup("{}").format(schema.get("type", "anything"))


def _example(value: object, media_type: str) -> str:
    if not isinstance(value, list):
        return value if isinstance(value, str) else json.dumps(value)
    lines = [json.dumps(one) for one in value]
    if media_type == NDJSON:
        return "\n".join(lines)
    return "[\n  " + ",\n  ".join(lines) + "\n]"
