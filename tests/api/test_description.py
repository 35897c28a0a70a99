"""The description of the API: whole, valid, and of the endpoints that there are."""

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from idle_application import idle_application
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import validate

from api.description import describe, encode_description
from api.docs_page import render_docs
from api.endpoints import ENDPOINTS
from api.metrics import Metrics
from api.problem_types import PROBLEM_TYPES


class Page(HTMLParser):
    """What of the page can be pointed at, and what it points at."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: list[str] = []
        self.links: list[str] = []
        self.loads: list[tuple[str, str | None]] = []
        self.feed(render_docs().decode())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        if named.get("id"):
            self.anchors.append(str(named["id"]))
        if tag == "a":
            self.links.append(str(named["href"]))
        if tag in {"script", "img", "iframe", "object", "embed", "form", "base"}:
            self.loads.append((tag, named.get("src")))
        if tag == "link":
            self.loads.append((tag, named.get("href")))


def served() -> set[tuple[str, str]]:
    """The routes of the application, with what varies in their paths left out."""
    app = idle_application(metrics=Metrics())
    return {
        (method, re.sub("<[a-z]+>", "{}", rule.rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD"}
    }


def test_every_endpoint_is_described_and_every_description_has_its_endpoint() -> None:
    described = {
        (endpoint.method, re.sub("{[a-z]+}", "{}", endpoint.path)) for endpoint in ENDPOINTS
    }

    assert described == served()


def test_it_is_valid_openapi() -> None:
    validate(describe())


def test_what_is_served_is_what_is_described() -> None:
    assert json.loads(encode_description()) == json.loads(json.dumps(describe()))


def test_each_path_parameter_is_described() -> None:
    for endpoint in ENDPOINTS:
        named = {one.name for one in endpoint.parameters if one.place == "path"}
        assert named == set(re.findall("{([a-z]+)}", endpoint.path)), endpoint.name


def contents() -> list[Any]:
    found = []
    for path, methods in describe()["paths"].items():
        for method, operation in methods.items():
            bodies = operation.get("requestBody", {}).get("content", {})
            answers = operation["responses"]["200"]["content"]
            found += [
                pytest.param(content, id=f"{method} {path} {where} {media_type}")
                for where, of in (("body", bodies), ("answer", answers))
                for media_type, content in of.items()
            ]
    return found


@pytest.mark.parametrize("content", contents())
def test_each_example_has_its_shape(content: dict[str, Any]) -> None:
    validator = OAS31Validator({**content["schema"], "components": describe()["components"]})
    example = content["examples"]["example"]["value"]

    assert not list(validator.iter_errors(example))


def test_every_type_of_problem_is_explained_under_its_anchor() -> None:
    page = Page()

    assert {type_.name for type_ in PROBLEM_TYPES} <= set(page.anchors)
    assert len(page.anchors) == len(set(page.anchors))


def test_every_type_of_problem_may_come_from_some_endpoint() -> None:
    described = set(re.findall(r"/docs#([a-z-]+)", str(describe()["paths"])))
    # Its answer is that of the wire contract: only results of a bulk name the type.
    described.add("amount-not-positive")

    assert {type_.name for type_ in PROBLEM_TYPES} == described


def test_every_link_of_the_page_leads_somewhere() -> None:
    page = Page()

    for link in page.links:
        assert link == "/openapi.json" or link.removeprefix("#") in page.anchors, link


def test_the_page_loads_nothing() -> None:
    page = render_docs().decode()

    assert Page().loads == [("link", "data:,")]
    assert not re.search(r"@import|url\(|https?://|javascript:|\son[a-z]+=", page)
