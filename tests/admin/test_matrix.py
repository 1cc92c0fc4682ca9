"""Row A5: every route of the admin API, taken from its routers, by every role: own, foreign and absent."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi.routing import APIRoute

from app.admin.api import surface
from app.admin.api.gate import Gateway as Parts
from app.admin.api.gate import Requires
from app.admin.roles import ROLES, Right
from tests.support.databases import KINDS, Templates
from tests.support.gateway import Gateway

TOKEN = "an-admin-token-for-tests-0123456789abcdef"
ABSENT = {"project": "nobody", "key_id": "key_absent", "token_id": "tok_absent", "hold_id": "hold_absent"}
ABSENT |= {"interaction_id": "v1_absent-absent", "budget_id": "bud_absent"}


class Asked(NamedTuple):
    """A request: what fills the path, the query and the body."""

    names: Mapping[str, str] = {}
    query: Mapping[str, str] = {}
    body: Any = None


@dataclass
class World:
    """A gateway with two projects, and an owner who makes whatever a request is about."""

    gateway: Gateway
    owner: httpx.Client
    clients: dict[str, httpx.Client] = field(default_factory=dict)
    count: Iterator[int] = field(default_factory=itertools.count)

    def name(self) -> str:
        return f"name-{next(self.count)}"

    def made(self, path: str, **body: Any) -> Any:
        said = self.owner.post(path, json=body)
        assert said.status_code == 200, said.text
        return said.json()

    def project(self) -> str:
        return str(self.made("/projects", name=self.name())["id"])

    def key(self, project: str = "ours") -> Any:
        return self.made("/keys", project=project, name="k")

    def interaction(self, project: str = "ours") -> str:
        return str(self.gateway.create(self.key(project)["key"], input="Hi")["id"])

    def hold(self) -> str:
        self.made("/holds", project=self.project(), kind="project", reason="x")
        holds = self.owner.get("/holds?page_size=200").json()["holds"]
        return str(holds[-1]["id"])

    def budget(self) -> str:
        return str(self.made("/budgets", project=self.project(), period="day", money="5")["id"])


OWN: dict[tuple[str, str], Callable[[World], Asked]] = {
    ("GET", "/projects"): lambda _: Asked(),
    ("POST", "/projects"): lambda world: Asked(body={"name": world.name()}),
    ("PATCH", "/projects/{project}"): lambda world: Asked(
        {"project": world.project()}, body={"owner": "ada"}
    ),
    ("DELETE", "/projects/{project}"): lambda world: Asked({"project": world.project()}),
    ("GET", "/keys"): lambda _: Asked(query={"project": "ours"}),
    ("POST", "/keys"): lambda _: Asked(body={"project": "ours", "name": "k"}),
    ("POST", "/keys/identify"): lambda world: Asked(body={"key": world.key()["key"]}),
    ("PATCH", "/keys/{key_id}"): lambda world: Asked({"key_id": world.key()["id"]}, body={"owner": "ada"}),
    ("POST", "/keys/{key_id}/rotate"): lambda world: Asked({"key_id": world.key()["id"]}, body={}),
    ("DELETE", "/keys/{key_id}"): lambda world: Asked({"key_id": world.key()["id"]}),
    ("GET", "/budgets"): lambda _: Asked(query={"project": "ours"}),
    ("POST", "/budgets"): lambda world: Asked(
        body={"project": world.project(), "period": "day", "tokens": 5}
    ),
    ("DELETE", "/budgets/{budget_id}"): lambda world: Asked({"budget_id": world.budget()}),
    ("GET", "/usage"): lambda _: Asked(query={"project": "ours"}),
    ("GET", "/interactions"): lambda _: Asked(query={"project": "ours"}),
    ("GET", "/interactions/export"): lambda _: Asked(query={"project": "ours"}),
    ("GET", "/interactions/{interaction_id}"): lambda world: Asked(
        {"interaction_id": world.interaction()}, {"project": "ours"}
    ),
    ("DELETE", "/interactions/{interaction_id}"): lambda world: Asked(
        {"interaction_id": world.interaction()}, {"project": "ours"}
    ),
    ("GET", "/holds"): lambda _: Asked(query={"project": "ours"}),
    ("POST", "/holds"): lambda world: Asked(
        body={"project": world.project(), "kind": "project", "reason": "x"}
    ),
    ("DELETE", "/holds/{hold_id}"): lambda world: Asked({"hold_id": world.hold()}),
    ("GET", "/retention"): lambda _: Asked(query={"project": "ours"}),
    ("GET", "/audit"): lambda _: Asked(query={"project": "gateway"}),
    ("POST", "/audit/verify"): lambda _: Asked(body={"project": "gateway"}),
    ("GET", "/audit/export"): lambda _: Asked(query={"project": "gateway"}),
    ("GET", "/tokens"): lambda _: Asked(),
    ("POST", "/tokens"): lambda world: Asked(body={"name": world.name(), "role": "viewer"}),
    ("DELETE", "/tokens/{token_id}"): lambda world: Asked(
        {"token_id": world.made("/tokens", name=world.name(), role="viewer")["id"]}
    ),
    ("GET", "/upstreams"): lambda _: Asked(),
}
NOTHING_NAMED = {
    ("GET", "/projects"),
    ("POST", "/projects"),
    ("GET", "/tokens"),
    ("POST", "/tokens"),
    ("GET", "/upstreams"),
}
HANDS_OUT_A_KEY = {("POST", "/keys"), ("POST", "/keys/{key_id}/rotate")}


def rights() -> dict[tuple[str, str], set[Right]]:
    """Every route of the routers, and the rights that it asks for."""
    parts = Parts(None, None, {})  # type: ignore[arg-type]
    return {
        (method, route.path): {
            each.call.right for each in route.dependant.dependencies if isinstance(each.call, Requires)
        }
        for router in surface.routers(parts)
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }


ROUTES = sorted(rights())


def test_every_route_asks_for_exactly_one_right_and_is_in_the_matrix():
    assert {route: len(found) for route, found in rights().items()} == dict.fromkeys(OWN, 1)
    for (method, path), [right] in rights().items():
        changes = method != "GET" and path not in {"/keys/identify", "/audit/verify"}
        if changes:
            assert right in {Right.CHANGE, Right.KEYS, Right.TOKENS}, path
        if path.startswith("/tokens"):
            assert right == Right.TOKENS
        if path.startswith("/audit"):
            assert right == Right.AUDIT
        if method == "GET" and path in {"/interactions/{interaction_id}", "/interactions/export"}:
            assert right == Right.CONTENT
        # Whoever gets a key reads the project's content with it.
        assert (right == Right.KEYS) == ((method, path) in HANDS_OUT_A_KEY), path


def test_what_the_roles_may():
    assert ROLES["owner"] == set(Right)
    assert not ROLES["operator"] & {Right.CONTENT, Right.KEYS, Right.TOKENS, Right.AUDIT}
    assert not ROLES["auditor"] & {Right.CHANGE, Right.KEYS, Right.TOKENS}
    assert ROLES["viewer"] == {Right.METADATA}


@pytest.fixture(scope="module", params=KINDS)
def world(request, templates: Templates, tmp_path_factory) -> Iterator[World]:
    with templates.fresh(request.param) as url:
        running = Gateway(tmp_path_factory.mktemp("matrix"), url, GATEWAY_ADMIN_TOKEN=TOKEN)
        with client(running, TOKEN) as owner:
            made = World(running, owner)
            for name in ("ours", "theirs"):
                made.made("/projects", name=name)
            for role in ROLES:
                token = made.made("/tokens", name=f"a {role}", role=role)["token"]
                made.clients[role] = client(running, token)
            yield made
            for each in made.clients.values():
                each.close()
        running.stop()


def client(gateway: Gateway, token: str) -> httpx.Client:
    headers = {"authorization": f"Bearer {token}"}
    return httpx.Client(base_url=f"{gateway.url}/admin/v1", headers=headers, timeout=30, trust_env=False)


def ask(http: httpx.Client, route: tuple[str, str], asked: Asked) -> httpx.Response:
    method, path = route
    return http.request(method, path.format(**asked.names), params=dict(asked.query), json=asked.body)


def absent(asked: Asked) -> Asked:
    """The same of something that is not there."""
    names = {name: ABSENT[name] for name in asked.names}
    if names:
        return Asked(names, asked.query, asked.body)
    query = {**asked.query, **({"project": "nobody"} if "project" in asked.query else {})}
    body = asked.body
    if isinstance(body, dict) and "project" in body:
        body = {**body, "project": "nobody"}
    if isinstance(body, dict) and "key" in body:
        from app.auth.keys import new_key

        body = {"key": new_key()}
    return Asked({}, query, body)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_a5_every_route_by_every_role(world: World, route, role) -> None:
    [right] = rights()[route]
    own = OWN[route](world)
    cases = {"own": own, "absent": absent(own)}
    if "interaction_id" in own.names:
        foreign = {"interaction_id": world.interaction("theirs")}
        cases["foreign"] = Asked(foreign, own.query, own.body)
    said = {case: ask(world.clients[role], route, asked) for case, asked in cases.items()}
    if right not in ROLES[role]:
        assert {answer.status_code for answer in said.values()} == {403}
        assert len({answer.content for answer in said.values()}) == 1  # whatever there is
        assert said["own"].json()["error"]["code"] == "permission_denied"
        return
    assert said["own"].status_code == 200, said["own"].text
    if route not in NOTHING_NAMED:
        assert said["absent"].status_code == 404, said["absent"].text
    if "foreign" in said:
        assert said["foreign"].status_code == 404
        assert json.loads(said["foreign"].content)["error"]["code"] == "not_found"


@pytest.mark.parametrize("route", ROUTES, ids=" ".join)
def test_a5_a_key_of_a_project_opens_nothing(world: World, route) -> None:
    """No key mints keys, whatever it is sent as."""
    key = world.gateway.key
    for headers in ({"authorization": f"Bearer {key}"}, {"x-goog-api-key": key}, {}):
        method, path = route
        url = f"{world.gateway.url}/admin/v1{path.format(**ABSENT)}"
        said = httpx.request(method, url, headers=headers, params={"key": key}, trust_env=False)
        assert said.status_code in {401, 429}
