"""The admin API: off without a token, thin, and it says no more than it must."""

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from app.auth.bearers import Bearers
from app.core.versions import Versions
from app.errors import ApiError
from app.store.tokens import Token
from tests.admin.conftest import TOKEN, client
from tests.conftest import GatewayFactory
from tests.support import PATIENCE
from tests.support.databases import Templates
from tests.support.gateway import Gateway, clean_environment
from tests.support.records import Records

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
Admin = Callable[[str | None], httpx.Client]


def test_projects_and_keys_from_nothing_to_nothing(process: Gateway, admin: httpx.Client) -> None:
    made = admin.post("/projects", json={"name": "acme", "owner": "ada", "policy": {"rpm": 60}}).json()
    assert (made["name"], made["owner"], made["policy"]) == ("acme", "ada", {"rpm": 60})
    changed = admin.patch("/projects/acme", json={"owner": None, "labels": {"a": "b"}}).json()
    assert (changed["owner"], changed["labels"], changed["policy"]) == (None, {"a": "b"}, {"rpm": 60})
    key = admin.post("/keys", json={"project": "acme", "name": "ci"}).json()
    assert process.create(key["key"], input="Hi")["status"] == "completed"
    [shown] = admin.get("/keys", params={"project": "acme"}).json()["keys"]
    assert shown["id"] == key["id"]
    assert key["key"] not in json.dumps(shown)
    assert admin.post("/keys/identify", json={"key": key["key"]}).json()["project"] == "acme"
    rotated = admin.post(f"/keys/{key['id']}/rotate", json={"grace_ms": 0}).json()
    assert process.create(rotated["key"], input="Hi")["status"] == "completed"
    assert admin.delete(f"/keys/{rotated['id']}").json() == {}
    assert admin.delete("/projects/acme").json()["erased"] >= 2
    assert "acme" not in admin.get("/projects").text


def test_what_is_stored_is_listed_shown_held_and_erased(process: Gateway, admin: httpx.Client) -> None:
    admin.post("/projects", json={"name": "stored"})
    key = admin.post("/keys", json={"project": "stored", "name": "k"}).json()["key"]
    made = [process.create(key, input=f"secret words {n}")["id"] for n in range(5)]
    query: dict[str, Any] = {"project": "stored", "page_size": 2}
    listed: list[str] = []
    while True:
        page = admin.get("/interactions", params=query)
        assert "secret words" not in page.text
        listed += [each["id"] for each in page.json()["interactions"]]
        if not (token := page.json()["next_page_token"]):
            break
        query["page_token"] = token
    assert listed == made[::-1]
    shown = admin.get(f"/interactions/{made[0]}", params={"project": "stored"})
    assert "secret words 0" in shown.text
    hold = {"project": "stored", "kind": "interaction", "target": made[0], "reason": "law"}
    assert admin.post("/holds", json=hold).json()["interactions"] == 1
    assert admin.delete(f"/interactions/{made[0]}", params={"project": "stored"}).status_code == 400
    [placed] = admin.get("/holds", params={"project": "stored"}).json()["holds"]
    assert admin.delete(f"/holds/{placed['id']}").json() == {}
    assert admin.delete(f"/interactions/{made[0]}", params={"project": "stored"}).json() == {}
    assert admin.get(f"/interactions/{made[0]}", params={"project": "stored"}).status_code == 404


def test_every_change_is_one_record_that_names_the_token(process: Gateway, admin: httpx.Client) -> None:
    token = admin.post("/tokens", json={"name": "eve", "role": "operator"}).json()["token"]
    with client(process, token) as eve:
        answer = eve.post("/projects", json={"name": "audited"})
    [record] = admin.get("/audit", params={"project": "audited"}).json()["records"]
    assert (record["actor_kind"], record["actor"], record["action"]) == ("admin", "eve", "project.create")
    assert (record["address"], record["request_id"]) == ("127.0.0.1", answer.headers["x-request-id"])
    of_tokens = admin.get("/audit", params={"project": "gateway", "action": "token.create"}).json()["records"]
    assert any("eve" in each["details"] for each in of_tokens)
    assert token not in json.dumps(of_tokens)
    for _ in range(200):  # until it has been sealed
        verified = admin.post("/audit/verify", json={"project": "audited"}).json()
        if verified["ok"]:
            break
        time.sleep(0.1)
    assert verified["ok"], verified
    assert admin.get("/audit/export", params={"project": "nobody"}).status_code == 404
    assert admin.get("/audit/export", params={"project": "audited"}).status_code == 200


def test_lists_come_in_pages(admin: httpx.Client) -> None:
    names = [f"page-{n}" for n in range(7)]
    for name in names:
        assert admin.post("/projects", json={"name": name}).status_code == 200
        assert admin.post("/tokens", json={"name": name, "role": "viewer"}).status_code == 200
    for noun in ("projects", "tokens"):
        found, query = [], {"page_size": "2"}
        while True:
            page = admin.get(f"/{noun}", params=query).json()
            assert len(page[noun]) <= 2
            found += [each["name"] for each in page[noun]]
            if page["next_page_token"] is None:
                break
            query["page_token"] = page["next_page_token"]
        assert [name for name in found if name.startswith("page-")] == names
        assert len(found) == len(set(found))


UNFIT = [
    ("POST", "/projects", {"name": "x", "id": "prj_mine"}),
    ("POST", "/projects", {"name": "x", "created_at": 1}),
    ("POST", "/projects", {"name": ["x"]}),
    ("POST", "/projects", {"name": "x", "policy": {"admin": True}}),
    ("POST", "/projects", {"name": "x", "retention_days": "7"}),
    ("POST", "/projects", {"name": "a\0b"}),
    ("POST", "/projects", {"name": ""}),
    ("POST", "/keys", {"project": "default", "name": "x", "key": "igw_mine"}),
    ("POST", "/keys", {"project": "default", "name": "x", "digest": "00"}),
    ("POST", "/keys", {"project": "\0", "name": "x"}),
    ("POST", "/tokens", {"name": "x", "role": "root"}),
    ("POST", "/tokens", {"name": "x", "role": "viewer", "token": "mine"}),
    ("POST", "/tokens", {"name": "x", "role": "viewer", "days": 0}),
    ("POST", "/holds", {"project": "default", "kind": "everything", "reason": "x"}),
    ("GET", "/projects?page_size=0", None),
    ("GET", "/projects?page_size=201", None),
    ("GET", "/projects?page_token=x", None),
    ("GET", "/interactions?project=default&page_token=WzE4NDQ2NzQ0MDczNzA5NTUxNjE2LCJ4Il0", None),
    ("GET", "/interactions/nonsense?project=default", None),
    ("GET", "/keys?project=%00", None),
]


@pytest.mark.parametrize(("method", "path", "body"), UNFIT, ids=str)
def test_what_does_not_fit_is_refused_by_name(admin: httpx.Client, method, path, body) -> None:
    """No field decides what only the gateway may; mass assignment is a 400."""
    said = admin.request(method, path, json=body)
    assert (said.status_code, said.json()["error"]["code"]) == (400, "invalid_request")


def test_deep_and_broken_bodies_are_refused(admin: httpx.Client) -> None:
    for body in (b"{", b"[" * 100_000, b"\xff", b'"\\ud800"', b'{"name": "\\ud800"}', b"null"):
        said = admin.post("/projects", content=body, headers={"content-type": "application/json"})
        assert said.status_code == 400, body[:20]


def test_answers_are_not_kept_and_belong_to_no_other_site(process: Gateway, admin: httpx.Client) -> None:
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    for said in (
        admin.get("/projects", headers=asked),
        admin.request("OPTIONS", "/projects", headers=asked),
        admin.get("/nothing"),
        admin.get("/projects", headers={"authorization": "Bearer wrong"}),
    ):
        assert said.headers["cache-control"] == "no-store"
        assert not [name for name in said.headers if name.startswith("access-control")]
    assert admin.request("OPTIONS", "/projects").status_code == 405


def test_it_has_a_document_of_its_own(admin: httpx.Client) -> None:
    document = admin.get("/openapi.json").json()
    assert {"/projects", "/keys", "/tokens", "/audit", "/upstreams", "/interactions", "/holds"} <= {
        *document["paths"]
    }
    for path, methods in document["paths"].items():
        for method, said in methods.items():
            assert said.get("security"), (method, path)


WRONG = [
    {},
    {"authorization": "Bearer"},
    {"authorization": f"Basic {TOKEN}"},
    {"authorization": f"Bearer {TOKEN}x"},
    {"authorization": f"Bearer {TOKEN[:-1]}"},
    {"authorization": f"Bearer {'x' * 5000}"},
    {"authorization": "Bearer ' OR 1=1 --"},
    {"x-goog-api-key": TOKEN},
    {"cookie": f"token={TOKEN}"},
]


@pytest.mark.parametrize("headers", WRONG, ids=str)
def test_a9_without_the_token_nothing_is_said(process: Gateway, headers) -> None:
    said = httpx.get(f"{process.url}/admin/v1/projects?key={TOKEN}", headers=headers, trust_env=False)
    assert said.status_code == 401
    said = httpx.get(
        f"{process.url}/admin/v1/projects", headers={"x-goog-api-key": process.key}, trust_env=False
    )
    assert said.status_code == 401


@ON_SQLITE
def test_a9_without_any_token_there_is_no_admin_api(start_gateway: GatewayFactory) -> None:
    gateway = start_gateway(GATEWAY_KEY_CACHE_SECONDS="0.1")
    for path in ("/projects", "/openapi.json", "/nothing"):
        for method in ("GET", "POST"):
            with client(gateway) as http:
                said = http.request(method, path, content=b"{")
            other = httpx.request(method, f"{gateway.url}/nothing/v1{path}", content=b"{", trust_env=False)
            assert (
                (said.status_code, said.content) == (other.status_code, other.content) == (404, said.content)
            )
    assert httpx.get(f"{gateway.url}/metrics", trust_env=False).status_code == 404
    made = json.loads(gateway.run("tokens", "create", "root", "--role", "owner", "--json").stdout)
    with client(gateway, made["token"]) as http:
        deadline = time.monotonic() + PATIENCE
        while http.get("/projects").status_code == 404 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert http.get("/projects").status_code == 200
        assert gateway.run("tokens", "revoke", made["id"]).returncode == 0
        while http.get("/projects").status_code == 200 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert http.get("/projects").status_code in {401, 404}
    with Records(gateway.database_url) as records:
        assert made["token"].encode() not in records.text()


def test_a9_a_weak_token_stops_the_start(tmp_path, templates: Templates) -> None:
    import subprocess

    from tests.support.gateway import COMMAND

    environment = clean_environment(GATEWAY_ADMIN_TOKEN="letmein", GATEWAY_DATA_DIR=str(tmp_path))
    ended = subprocess.run(
        [COMMAND, "doctor"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("settings: admin_token: too weak")
    assert "letmein" not in ended.stderr


async def test_a9_guessing_is_slow_and_holds_up_nobody_else() -> None:
    async def nobody(_: Versions[bytes]) -> Token | None:
        return None

    async def some() -> bool:
        return True

    async def tried(bearers: Bearers, token: str, address: str = "10.0.0.1") -> int:
        try:
            await bearers.bearer([(b"authorization", f"Bearer {token}".encode())], address)
        except ApiError as error:
            return error.status if int(error.headers.get("retry-after", "1")) >= 1 else 0
        return 200

    bearers, fresh = (Bearers(Versions(b"pepper"), TOKEN, nobody, some, cache_seconds=60) for _ in range(2))
    assert await tried(bearers, TOKEN) == 200
    statuses = await asyncio.gather(*(tried(bearers, f"guess-{n}") for n in range(100)))
    assert (statuses.count(401), statuses.count(429)) == (20, 80)
    assert await tried(bearers, TOKEN) == 200  # accepted a moment ago
    assert await tried(bearers, "guess", "10.0.0.2") == 401
    assert [await tried(fresh, "guess") for _ in range(20)] == [401] * 20
    assert await tried(fresh, TOKEN) == 429  # the right guess is not told either


@ON_SQLITE
@pytest.mark.parametrize(
    ("networks", "inside", "outside"),
    [(None, "127.0.0.1", "203.0.113.7"), ('["10.0.0.0/8", "2001:db8::/32"]', "10.9.8.7", "127.0.0.1")],
)
def test_it_is_used_from_its_networks_only(
    start_gateway: GatewayFactory, networks: str | None, inside: str, outside: str
) -> None:
    more = {} if networks is None else {"GATEWAY_ADMIN_NETWORKS": networks}
    gateway = start_gateway(GATEWAY_ADMIN_TOKEN=TOKEN, GATEWAY_TRUSTED_PROXIES='["127.0.0.1/32"]', **more)
    with client(gateway) as owner, client(gateway, "wrong") as nobody:
        assert owner.get("/projects", headers={"x-forwarded-for": inside}).status_code == 200
        refused = owner.get("/projects", headers={"x-forwarded-for": outside})
        assert refused.status_code == 403
        text = f"The admin API may not be used from {outside} (setting: admin_networks)."
        assert refused.json()["error"] == {"code": "permission_denied", "message": text}
        assert nobody.get("/projects", headers={"x-forwarded-for": outside}).status_code == 401
