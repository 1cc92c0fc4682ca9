"""Whose things are: every line of the allow-list, for one's own, another's and nobody's."""

import asyncio
import base64
import json
import secrets
import time
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from app.store.database import Database
from app.store.resources import NewResource, Resources
from app.wire import resources
from app.wire.resources import Route
from tests.api.conftest import SIMULATOR_KEYS, client
from tests.conftest import UPSTREAM_KEY, GatewayFactory
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.simulator import Simulator
from tests.support.upstream import HANG, Asked, Pause, answer, head

FILES = "https://generativelanguage.googleapis.com/v1beta/files/"
MINE, FOREIGN, ABSENT = "voice_mine", "voice_foreign", "voice_absent"
OWNED = [route for route in resources.ROUTES if "{own}" in route.path]
OPEN = [route for route in resources.ROUTES if "{own}" not in route.path]


def name(route: Route) -> str:
    return f"{route.method} {'upload/' if route.upload else ''}{route.path}"


def path(route: Route, own: str) -> str:
    filled = route.path.format(own=own, id="thing", path="src/a.txt")
    return f"{'/upload' if route.upload else ''}/v1beta/{filled}"


def collection(route: Route) -> str:
    """The name of what a line of the list wants to be owned, up to its id."""
    return route.path.partition("{own}")[0].format(id="thing")


def told(route: Route) -> Any:
    """An answer that any line can do with."""
    kind = route.kind.name if route.kind is not None else ""
    made = {"batches": "batches/made", "operations": "models/thing/operations/made"}.get(kind, f"{kind}/made")
    member = {"name": made, "id": "made", "type": "prebuilt", "novelty": [1, {"b": 2, "a": 1}]}
    return {"file": member, **member}


async def call(gateway: Gateway, route: Route, own: str) -> httpx.Response:
    body: dict[str, Any] = (
        {"json": {"config": {}}} if route.method in ("POST", "PATCH") and not route.upload else {}
    )
    async with client(gateway) as http:
        return await http.request(route.method, path(route, own), **body)


@pytest.fixture
async def held(fronting: Gateway, other_key: str) -> AsyncIterator[None]:
    """MINE and FOREIGN of every kind."""
    database = Database(fronting.database_url)
    with Records(fronting.database_url) as records:
        records.change("DELETE FROM upstream_resources")
        projects = dict(records.rows("SELECT prefix, project_id FROM api_keys"))
    for key, own in ((fronting.key, MINE), (other_key, FOREIGN)):
        for prefix in {collection(route) for route in OWNED}:
            kind = prefix.strip("/").rpartition("/")[2]
            new = NewResource(f"{prefix}{own}", "remote", "any", projects[key[:10]], None, kind)
            await Resources(database).record(new)
    yield
    await database.close()


@pytest.mark.parametrize("route", OWNED, ids=name)
async def test_one_reaches_only_what_is_ones_own(fronting, remote, held, route) -> None:
    remote.script(answer(told(route)))
    refused = [(await call(fronting, route, own), own) for own in (FOREIGN, ABSENT)]
    assert remote.requests == []
    said = set()
    for answered, own in refused:
        assert answered.status_code == 404
        assert answered.json()["error"]["status"] == "NOT_FOUND"
        said.add(answered.text.replace(own, ""))
    assert len(said) == 1
    theirs = {"content-length": "", "x-request-id": ""}
    assert dict(refused[0][0].headers) | theirs == dict(refused[1][0].headers) | theirs
    mine = await call(fronting, route, MINE)
    assert mine.status_code == 200, mine.text
    assert mine.json() == told(route)
    assert [asked.line for asked in remote.requests] == [f"{route.method} {path(route, MINE)} HTTP/1.1"]
    assert remote.requests[0].headers["x-goog-api-key"] == UPSTREAM_KEY


@pytest.mark.parametrize("route", OPEN, ids=name)
async def test_what_is_nobodys_is_passed_on_for_everybody(fronting, remote, route) -> None:
    with Records(fronting.database_url) as records:
        records.change("DELETE FROM upstream_resources")
    remote.script(answer(told(route)))
    answered = await call(fronting, route, "")
    assert answered.status_code == 200, answered.text
    if route.effect == "lists":
        assert remote.requests == []
        return
    assert [asked.line for asked in remote.requests] == [f"{route.method} {path(route, '')} HTTP/1.1"]
    if route.effect != "mixes":
        assert answered.json() == told(route)


@pytest.mark.parametrize("version", resources.VERSIONS)
async def test_the_versions_are_alike(fronting, remote, held, version) -> None:
    remote.script(answer({"name": f"files/{MINE}"}))
    async with client(fronting) as http:
        assert (await http.get(f"/{version}/files/{FOREIGN}")).status_code == 404
        assert (await http.get(f"/{version}/files/{MINE}")).status_code == 200
    assert [asked.line for asked in remote.requests] == [f"GET /{version}/files/{MINE} HTTP/1.1"]


async def test_a_removed_thing_is_forgotten(fronting, remote, held) -> None:
    remote.script(answer({}))
    async with client(fronting) as http:
        assert (await http.delete(f"/v1beta/files/{MINE}")).json() == {}
        assert (await http.delete(f"/v1beta/files/{MINE}")).status_code == 404
        assert (await http.get(f"/v1beta/files/{MINE}")).status_code == 404
    assert len(remote.requests) == 1


GONE = [
    ("404 Not Found", {"error": {"code": 404, "message": "gone", "status": "NOT_FOUND"}}),
    ("403 Forbidden", {"error": {"code": 403, "message": "no permission", "status": "PERMISSION_DENIED"}}),
]


@pytest.mark.parametrize(("status", "body"), GONE)
async def test_what_the_upstream_has_lost_is_like_what_never_was(
    fronting, remote, held, status, body
) -> None:
    remote.script(answer(body, status))
    async with client(fronting) as http:
        lost = await http.get(f"/v1beta/files/{MINE}")
        absent = await http.get(f"/v1beta/files/{ABSENT}")
    assert (lost.status_code, absent.status_code) == (404, 404)
    assert lost.text.replace(MINE, "") == absent.text.replace(ABSENT, "")


async def test_a_refused_key_is_no_missing_file(fronting, remote, held) -> None:
    reason = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_SERVICE_BLOCKED"}
    said = {"code": 403, "message": "blocked", "status": "PERMISSION_DENIED", "details": [reason]}
    remote.script(answer({"error": said}, "403 Forbidden"))
    async with client(fronting) as http:
        found = await http.get(f"/v1beta/files/{MINE}")
    assert (found.status_code, "credential" in found.json()["error"]["message"]) == (502, True)


NAMING = [
    (
        {"contents": [{"parts": [{"fileData": {"fileUri": "files/{}"}}]}]},
        "contents[0].parts[0].fileData.fileUri",
    ),
    (
        {"contents": [{"parts": [{"file_data": {"file_uri": FILES + "{}"}}]}]},
        "contents[0].parts[0].file_data.file_uri",
    ),
    ({"cachedContent": "cachedContents/{}"}, "cachedContent"),
    ({"cached_content": "{}"}, "cached_content"),
    (
        {"tools": [{"fileSearch": {"fileSearchStoreNames": ["fileSearchStores/{}"]}}]},
        "tools[0].fileSearch.fileSearchStoreNames[0]",
    ),
    (
        {"generationConfig": {"speechConfig": {"voiceConfig": {"voiceName": "{}"}}}},
        "generationConfig.speechConfig.voiceConfig.voiceName",
    ),
]


def fill(body: Any, own: str) -> Any:
    return json.loads(json.dumps(body).replace("{}", own))


@pytest.mark.parametrize(("body", "field"), NAMING)
async def test_a_call_of_a_model_may_name_only_ones_own(fronting, remote, held, body, field) -> None:
    remote.script(answer({"candidates": []}))
    target = "/v1beta/models/m:generateContent"
    async with client(fronting) as http:
        for own in (FOREIGN, ABSENT):
            refused = await http.post(target, json=fill(body, own))
            assert refused.status_code == 404
            assert field in refused.json()["error"]["message"]
        assert remote.requests == []
        assert (await http.post(target, json=fill(body, MINE))).status_code == 200
    assert remote.requests[0].json() == fill(body, MINE)


INTERACTIONS = [
    ({"model": "m", "input": [{"type": "document", "uri": FILES + "{}"}]}, "input[0].content[0].uri"),
    ({"model": "m", "input": "x", "cached_content": "cachedContents/{}"}, "cached_content"),
    (
        {
            "model": "m",
            "input": "x",
            "tools": [{"type": "file_search", "file_search_store_names": ["fileSearchStores/{}"]}],
        },
        "tools[0].file_search_store_names[0]",
    ),
    ({"agent": "a", "input": "x", "environment": "{}"}, "environment"),
    (
        {"agent": "a", "input": "x", "environment": {"type": "remote", "environment_id": "{}"}},
        "environment.environment_id",
    ),
    (
        {"agent": "a", "input": "x", "environment": {"type": "remote", "env": {"K": {"credential": "{}"}}}},
        "environment.env.K.credential",
    ),
    (
        {"model": "m", "input": "x", "generation_config": {"speech_config": [{"voice": "{}"}]}},
        "generation_config.speech_config[0].voice",
    ),
    ({"model": "tunedModels/{}", "input": "x"}, "model"),
]
SAID = {
    "status": "completed",
    "steps": [{"type": "model_output", "content": [{"type": "text", "text": "Hi"}]}],
}


@pytest.mark.parametrize(("body", "field"), INTERACTIONS)
async def test_an_interaction_may_name_only_ones_own(fronting, remote, held, body, field) -> None:
    remote.script(answer(SAID))
    async with client(fronting) as http:
        for own in (FOREIGN, ABSENT):
            refused = await http.post("/v1beta/interactions", json=fill(body, own))
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "not_found")
            assert f"'{field}'" in refused.json()["error"]["message"]
        assert remote.requests == []
        passed = await http.post("/v1beta/interactions", json=fill(body, MINE))
        assert passed.status_code == 200, passed.text


async def test_an_agent_of_another_project_is_not_there_and_one_of_nobodys_is_the_upstreams(
    fronting, remote, held
) -> None:
    remote.script(answer(SAID))
    async with client(fronting) as http:
        refused = await http.post("/v1beta/interactions", json={"agent": FOREIGN, "input": "x"})
        assert (refused.status_code, "'agent'" in refused.json()["error"]["message"]) == (404, True)
        assert remote.requests == []
        for agent in (MINE, "deep-research-preview-04-2026"):
            assert (await http.post("/v1beta/interactions", json={"agent": agent, "input": "x"})).is_success
    assert [asked.json()["agent"] for asked in remote.requests] == [MINE, "deep-research-preview-04-2026"]


async def test_a_hidden_name_is_not_sent(fronting, remote, held) -> None:
    """Of a field that stands twice, what was checked is what the upstream gets."""
    remote.script(answer({"candidates": []}))
    body = f'{{"cachedContent":"cachedContents/{FOREIGN}","cachedContent":"cachedContents/{MINE}"}}'
    async with client(fronting) as http:
        assert (await http.post("/v1beta/models/m:generateContent", content=body)).status_code == 200
    assert remote.requests[0].body == f'{{"cachedContent":"cachedContents/{MINE}"}}'.encode()


async def test_an_interaction_that_names_nothing_costs_no_read(fronting, remote) -> None:
    """Free values may look like names."""
    remote.script(answer(SAID))
    call = {
        "type": "function_call",
        "id": "c",
        "name": "f",
        "arguments": {"uri": "files/a", "environment": "b"},
    }
    result = {"type": "function_result", "call_id": "c", "result": {"cachedContent": "x"}}
    body = {"model": "m", "input": [call, result], "labels": {"agent": "x"}}
    async with client(fronting) as http:
        assert (await http.post("/v1beta/interactions", json=body)).status_code == 200


async def test_what_a_run_makes_belongs_to_its_project(fronting, remote, other_key) -> None:
    film = FILES + "film1"
    steps = [{"type": "model_output", "content": [{"type": "video", "uri": film}]}]
    remote.script(answer({"status": "completed", "steps": steps, "environment_id": "env-1"}))
    remote.script(answer({"id": "env-1"}))
    async with client(fronting) as mine, client(fronting, other_key) as theirs:
        made = await mine.post(
            "/v1beta/interactions", json={"agent": "a", "input": "x", "environment": "remote"}
        )
        assert made.json()["environment_id"] == "env-1"
        for target in ("environments/env-1", "files/film1:download", "files/environment-env-1:download"):
            assert (await mine.get(f"/v1beta/{target}?alt=media")).status_code == 200
            assert (await theirs.get(f"/v1beta/{target}?alt=media")).status_code == 404
        body = {"agent": "a", "input": "x", "environment": "env-1"}
        assert (await theirs.post("/v1beta/interactions", json=body)).status_code == 404


def test_lists_show_ones_own_page_by_page(project) -> None:
    clients = [project(), project()]
    for number in range(9):
        for each, http in enumerate(clients):
            made = http.post("/v1beta/cachedContents", json={"displayName": f"{each} {number}"})
            assert made.status_code == 200
    for each, http in enumerate(clients):
        whole = http.get("/v1beta/cachedContents?pageSize=100").json()
        names = [item["displayName"] for item in whole["cachedContents"]]
        assert names == [f"{each} {number}" for number in range(8, -1, -1)]
        assert "nextPageToken" not in whole
        paged: list[str] = []
        token = ""
        while token or not paged:
            page = http.get("/v1beta/cachedContents", params={"page_size": 2, "page_token": token}).json()
            again = http.get("/v1beta/cachedContents", params={"pageSize": 2, "pageToken": token}).json()
            assert page == again
            paged += [item["displayName"] for item in page["cachedContents"]]
            token = page.get("nextPageToken", "")
        assert paged == names


def with_key(simulator: Simulator, key: str, method: str, name: str) -> int:
    """What the simulator says of a thing to this key of its own."""
    with simulator.client(key) as http:
        return http.request(method, f"/v1beta/{name}").status_code


def test_a_page_is_filled_up_although_the_upstream_has_lost_some(project, simulator: Simulator) -> None:
    http = project()
    names = [http.post("/v1beta/fileSearchStores", json={}).json()["name"] for _ in range(8)]
    for name_ in names[1::2]:
        found = {key: with_key(simulator, key, "DELETE", name_) for key in SIMULATOR_KEYS}
        assert 200 in found.values()
    page = http.get("/v1beta/fileSearchStores?pageSize=3").json()
    assert [each["name"] for each in page["fileSearchStores"]] == [names[6], names[4], names[2]]
    rest = http.get(
        "/v1beta/fileSearchStores", params={"pageSize": 3, "pageToken": page["nextPageToken"]}
    ).json()
    assert [each["name"] for each in rest["fileSearchStores"]] == [names[0]]
    assert "nextPageToken" not in rest


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("pageSize=x", "pageSize"),
        ("page_size=-1", "page_size"),
        ("pageToken=x", "pageToken"),
        ("filter=a", "filter"),
        ("alt=proto", "alt"),
        ("fields=name", "fields"),
    ],
)
async def test_a_wrong_question_for_a_list_is_refused(http: httpx.AsyncClient, query, named) -> None:
    refused = await http.get(f"/v1beta/files?{query}")
    assert (refused.status_code, refused.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert named in refused.json()["error"]["message"]


async def test_a_token_of_another_list_is_refused(fronting, remote) -> None:
    for number in range(2):
        remote.script(answer({"name": f"fileSearchStores/{number}"}))
    remote.script(answer({"name": "fileSearchStores/any"}))
    async with client(fronting) as http:
        for _ in range(2):
            assert (await http.post("/v1beta/fileSearchStores", json={})).status_code == 200
        token = (await http.get("/v1beta/fileSearchStores?pageSize=1")).json()["nextPageToken"]
        assert (await http.get(f"/v1beta/files?pageToken={token}")).status_code == 400


async def test_a_list_that_fails_leaves_no_question_behind(scripted_gateway, upstream) -> None:
    for number in range(2):
        upstream.script(answer({"name": f"cachedContents/{number}"}))
    upstream.script(Pause(1), answer({"error": {"code": 500, "message": "no"}}, "500 x"))
    upstream.script(HANG)
    async with client(scripted_gateway) as http:
        for _ in range(2):
            assert (await http.post("/v1beta/cachedContents", json={})).status_code == 200
        assert (await http.get("/v1beta/cachedContents")).status_code == 500
    await upstream.requests[3].abandoned()
    await asyncio.to_thread(scripted_gateway.must_be_in_order)


FORGED = [[2**64 - 1, "files/x"], [-1, "files/x"], [1, "files/\0"], [1, "x"], [True, "files/x"], []]


@pytest.mark.parametrize("position", FORGED)
async def test_a_forged_token_is_refused(http: httpx.AsyncClient, position: list[Any]) -> None:
    forged = json.dumps([*position, zlib.crc32(b"files")] if position else 1).encode()
    refused = await http.get("/v1beta/files", params={"pageToken": base64.urlsafe_b64encode(forged).decode()})
    assert (refused.status_code, "'pageToken'" in refused.text) == (400, True)


UNFIT = [
    "environments/e/files/\0",
    "environments/e/files/../x",
    "files/a b",
    "files/" + "x" * 257,
    "files/\ud800",
]


@pytest.mark.parametrize("unfit", UNFIT)
async def test_a_name_that_cannot_be_written_down_is_refused(http, remote, unfit) -> None:
    begin = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start"}
    body = json.dumps({"file": {"name": unfit}})
    assert (await http.post("/upload/v1beta/files", content=body, headers=begin)).status_code == 400
    made = json.dumps({"name": unfit.replace("files/", "cachedContents/")})
    assert (await http.post("/v1beta/cachedContents", content=made)).status_code == 400
    assert remote.requests == []


def test_each_thing_is_used_with_the_key_that_made_it(project, simulator: Simulator) -> None:
    """Ten projects spread over two keys of the upstream, of which each sees only its own."""
    made_with: set[str] = set()
    for _ in range(10):
        http = project()
        begun = {"X-Goog-Upload-Protocol": "raw", "content-type": "text/plain"}
        name_ = http.post("/upload/v1beta/files", content=b"text", headers=begun).json()["file"]["name"]
        uri = f"https://generativelanguage.googleapis.com/v1beta/{name_}"
        seen = {key for key in SIMULATOR_KEYS if with_key(simulator, key, "GET", name_) == 200}
        assert len(seen) == 1
        made_with |= seen
        first = http.post(
            "/v1beta/interactions",
            json={"model": "m", "input": [{"type": "document", "uri": uri, "mime_type": "text/plain"}]},
        ).json()
        for _ in range(3):
            assert http.get(f"/v1beta/{name_}").status_code == 200
            more = {"model": "m", "input": "And?", "previous_interaction_id": first["id"]}
            assert http.post("/v1beta/interactions", json=more).status_code == 200
    assert made_with == set(SIMULATOR_KEYS)


def test_the_files_of_a_batch_and_of_an_operation_are_ones_own(project) -> None:
    mine, theirs = project(), project()
    raw = {"X-Goog-Upload-Protocol": "raw", "content-type": "jsonl"}
    line = json.dumps({"request": {"contents": [{"parts": [{"text": "Hello"}]}]}}).encode()
    source = mine.post("/upload/v1beta/files", content=line, headers=raw).json()["file"]["name"]
    body = {"batch": {"inputConfig": {"fileName": source}}}
    assert theirs.post("/v1beta/models/m:batchGenerateContent", json=body).status_code == 404
    batch = mine.post("/v1beta/models/m:batchGenerateContent", json=body).json()["name"]
    results = mine.get(f"/v1beta/{batch}").json()["response"]["responsesFile"]
    film = mine.post("/v1beta/models/veo:predictLongRunning", json={"instances": []}).json()["name"]
    shown = mine.get(f"/v1beta/{film}").json()["response"]["generateVideoResponse"]
    uri = shown["generatedSamples"][0]["video"]["uri"].partition("/v1beta/")[2]
    for target, content in ((f"{results}:download?alt=media", b"Hello"), (uri, b"a film")):
        assert content in mine.get(f"/v1beta/{target}").content
        assert theirs.get(f"/v1beta/{target}").status_code == 404
    for target in (batch, film):
        assert theirs.get(f"/v1beta/{target}").status_code == 404


def test_a_name_that_another_has_taken_is_refused_without_a_call(project) -> None:
    mine, theirs = project(), project()
    agent = f"agent-{secrets.token_hex(4)}"
    assert mine.post("/v1beta/agents", json={"id": agent, "base_agent": "antigravity"}).status_code == 200
    assert theirs.post("/v1beta/agents", json={"id": agent}).status_code == 400
    assert theirs.get(f"/v1beta/agents/{agent}").status_code == 404
    begin = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start"}
    body = {"file": {"name": f"files/{agent}"}}
    url = mine.post("/upload/v1beta/files", json=body, headers=begin).headers["x-goog-upload-url"]
    done = mine.post(
        url, content=b"x", headers={"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}
    )
    assert done.json()["file"]["name"] == f"files/{agent}"
    assert theirs.post("/upload/v1beta/files", json=body, headers=begin).status_code == 400


def test_voices_are_the_public_ones_and_ones_own(project) -> None:
    mine, theirs = project(), project()
    made = mine.post(
        "/v1beta/voices", json={"voice": {"type": "prompted", "prompted": {"input": "x"}}}
    ).json()["id"]
    unkept = mine.post("/v1beta/voices", json={"voice": {"type": "replicated"}, "store": False})
    assert (unkept.status_code, "id" in unkept.json()) == (200, False)
    assert {each["id"] for each in mine.get("/v1beta/voices").json()["voices"]} >= {"Puck", "Charon", made}
    assert {each["id"] for each in theirs.get("/v1beta/voices").json()["voices"]} == {"Puck", "Charon"}
    assert [http.get("/v1beta/voices/Puck").status_code for http in (mine, theirs)] == [200, 200]
    assert [http.get(f"/v1beta/voices/{made}").status_code for http in (mine, theirs)] == [200, 404]
    assert [http.delete("/v1beta/voices/Puck").status_code for http in (mine, theirs)] == [404, 404]
    assert [http.delete(f"/v1beta/voices/{made}").status_code for http in (theirs, mine)] == [404, 200]


def test_a_cache_lives_as_long_as_it_was_last_told_to(project) -> None:
    http = project()
    name_ = http.post("/v1beta/cachedContents", json={"ttl": "3s"}).json()["name"]
    assert http.patch(f"/v1beta/{name_}?updateMask=ttl", json={"ttl": "600s"}).status_code == 200
    short = http.post("/v1beta/cachedContents", json={"ttl": "3s"}).json()["name"]
    time.sleep(3.2)
    assert http.get(f"/v1beta/{name_}").status_code == 200
    assert http.get(f"/v1beta/{short}").status_code == 404
    shown = [each["name"] for each in http.get("/v1beta/cachedContents").json()["cachedContents"]]
    assert shown == [name_]


async def test_what_cannot_be_written_down_is_not_handed_out(fronting, remote) -> None:
    """The database is away when the upstream has made the file: 503, and the file is deleted."""
    remote.script(answer({"name": "cachedContents/orphan"}))
    remote.script(answer({}))
    with Records(fronting.database_url) as records:
        records.change("ALTER TABLE upstream_resources RENAME TO hidden_resources")
        try:
            async with client(fronting) as http:
                refused = await http.post("/v1beta/cachedContents", json={"model": "m"})
        finally:
            records.change("ALTER TABLE hidden_resources RENAME TO upstream_resources")
    assert (refused.status_code, refused.json()["error"]["status"]) == (503, "UNAVAILABLE")
    assert [asked.line.split()[:2] for asked in remote.requests] == [
        ["POST", "/v1beta/cachedContents"],
        ["DELETE", "/v1beta/cachedContents/orphan"],
    ]
    async with client(fronting) as http:
        assert (await http.get("/v1beta/cachedContents/orphan")).status_code == 404


@pytest.mark.parametrize("body", [b"", b"[]", b'{"id": "x"}', b'{"name": "files/x"}', b"<html>"])
async def test_an_answer_without_a_name_is_not_handed_out(fronting, remote, body) -> None:
    remote.script(head() + body)
    async with client(fronting) as http:
        assert (await http.post("/v1beta/cachedContents", json={})).status_code == 502


async def test_with_ones_own_key_everything_is_passed_on(start_gateway: GatewayFactory, upstream) -> None:
    gateway = await asyncio.to_thread(start_gateway, upstream.url, GATEWAY_AUTH="passthrough")
    upstream.script(answer({"files": [{"name": "files/a"}]}))
    async with client(gateway, "AIza-of-the-caller") as http:
        assert (await http.get("/v1beta/files?pageSize=3&key=AIza-of-the-caller")).json() == {
            "files": [{"name": "files/a"}]
        }
        assert (await http.get("/v1beta/files/b")).status_code == 200
        body = {"contents": [{"parts": [{"fileData": {"fileUri": "files/b"}}]}]}
        assert (await http.post("/v1beta/models/m:generateContent", json=body)).status_code == 200
        upstream.script(
            answer({"error": {"code": 403, "message": "yours", "status": "PERMISSION_DENIED"}}, "403 x")
        )
        upstream.script(answer({}))
        await http.get("/v1beta/files/b")
        refused = await http.get("/v1beta/files/c")
    assert (refused.status_code, refused.json()["error"]["message"]) == (403, "yours")
    sent: list[Asked] = upstream.requests
    assert {asked.headers["x-goog-api-key"] for asked in sent} == {"AIza-of-the-caller"}
    assert sent[0].line == "GET /v1beta/files?pageSize=3 HTTP/1.1"
    with Records(gateway.database_url) as records:
        assert records.count("upstream_resources") == 0
        assert b"AIza-of-the-caller" not in records.text()
