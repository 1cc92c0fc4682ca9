"""The OpenAPI document of the admin API, held against a gateway that runs."""

from typing import Any

import httpx
import pytest

from tests.admin.test_matrix import OWN, ROUTES, World, absent, ask, world  # noqa: F401 - a fixture
from tests.support.schema import faults

VALUES = {"page_size": "5", "since": "2020-01-01", "until": "2099-12-31", "by": "model", "label": "a=b"}
LINES = {("GET", "/audit/export"), ("GET", "/interactions/export")}


@pytest.fixture(scope="module")
def document(world: World) -> Any:  # noqa: F811
    return world.owner.get("/openapi.json").json()


def operation(document: Any, route: tuple[str, str]) -> Any:
    method, path = route
    return document["paths"][path][method.lower()]


def fits(document: Any, route: tuple[str, str], said: httpx.Response) -> None:
    """The answer is one of those that the document names, and has these fields, and no others."""
    responses = operation(document, route)["responses"]
    described = responses[
        str(said.status_code) if said.status_code == 200 else f"{said.status_code // 100}XX"
    ]
    kind = said.headers["content-type"].partition(";")[0]
    assert list(described["content"]) == [kind], (route, said.headers["content-type"])
    if kind == "application/json":
        found = list(faults(document, described["content"][kind]["schema"], said.json()))
        assert found == [], route


def test_it_names_every_route_and_where_it_is(world: World, document: Any):  # noqa: F811
    routes = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert routes == set(ROUTES)
    [server] = document["servers"]
    assert str(world.owner.base_url).rstrip("/").endswith(server["url"])
    assert "422" not in str(document)  # what FastAPI would have answered


def test_every_answer_is_as_it_says(world: World, document: Any):  # noqa: F811
    for route in ROUTES:
        own = OWN[route](world)
        said = ask(world.owner, route, own)
        assert said.status_code == 200, (route, said.text)
        assert (said.headers["content-type"] == "application/jsonl") == (route in LINES)
        fits(document, route, said)
        said = ask(world.owner, route, absent(own))
        fits(document, route, said)
    with httpx.Client(base_url=world.owner.base_url, trust_env=False) as stranger:
        for route in ROUTES:
            said = ask(
                stranger, route, OWN[route](world) if "{" not in route[1] else absent(OWN[route](world))
            )
            assert said.status_code in {401, 429}
            fits(document, route, said)


def test_every_parameter_is_taken_and_no_other(world: World, document: Any):  # noqa: F811
    for route in ROUTES:
        parameters = [
            each for each in operation(document, route).get("parameters", ()) if each["in"] == "query"
        ]
        needed = {each["name"]: "ours" for each in parameters if each["required"]}
        if route[0] != "GET" or "{" in route[1]:
            continue
        for each in parameters:
            if each["name"] in {"page_token", "project", "after"}:
                continue
            query = needed | {each["name"]: VALUES.get(each["name"], "x")}
            assert world.owner.get(route[1], params=query).status_code == 200, (route, query)
        said = world.owner.get(route[1], params=needed | {"pagesize": "5"})
        assert (said.status_code, "pagesize" in said.text) == (400, True), route
        if any(each["name"] == "page_token" for each in parameters):
            said = world.owner.get(route[1], params=needed | {"page_token": "WyJ4IiwieSIsInoiLDEsMl0"})
            assert (said.status_code, "page_token" in said.text) == (400, True), route
