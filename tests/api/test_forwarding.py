"""The rest of the API behind the gateway: what passes, what does not, and in which form."""

import asyncio
import contextlib
import json
import re
from collections.abc import Coroutine
from typing import Any

import httpx
import pytest

from app.wire import resources
from tests.api.conftest import client
from tests.conftest import UPSTREAM_KEY, GatewayFactory
from tests.support.gateway import Gateway
from tests.support.raw import ask, request
from tests.support.runs import asked_for
from tests.support.upstream import HANG, RESET, Gate, Pause, ScriptedUpstream, answer, chunk, head

GENERATE = "/v1beta/models/m:generateContent"
STREAM = "/v1beta/models/m:streamGenerateContent?alt=sse"
HELLO = {"contents": [{"parts": [{"text": "Hello"}]}]}


def rpc(response: httpx.Response) -> tuple[int, str]:
    """An error of the rest of the API: its status in numbers and in words."""
    error = response.json()["error"]
    assert set(error) >= {"code", "message", "status"}
    assert error["code"] == response.status_code
    return error["code"], error["status"]


async def test_a_call_is_passed_on_with_the_gateways_key(http, remote: ScriptedUpstream) -> None:
    remote.script(answer({"candidates": []}))
    answered = await http.post(GENERATE, json=HELLO)
    assert (answered.status_code, answered.json()) == (200, {"candidates": []})
    (asked,) = remote.requests
    assert asked.line == f"POST {GENERATE} HTTP/1.1"
    assert asked.json() == HELLO
    assert asked.headers["x-goog-api-key"] == UPSTREAM_KEY


async def test_s4_no_header_of_the_clients_that_is_not_on_the_list_goes_up(fronting, remote) -> None:
    remote.script(answer({}))
    passed = {
        "accept": "text/x",
        "x-server-timeout": "7",
        "range": "bytes=0-1",
        "content-type": "application/json",
    }
    stopped = {
        "cookie": "a=b",
        "x-goog-user-project": "p",
        "x-forwarded-for": "1.2.3.4",
        "x-forwarded-host": "evil",
        "forwarded": "for=evil",
        "te": "trailers",
        "trailer": "expires",
        "keep-alive": "timeout=5",
        "proxy-connection": "keep-alive",
        "proxy-authorization": "Basic x",
        "x-http-method-override": "DELETE",
        "x-goog-fieldmask": "*",
        "origin": "https://evil",
        "referer": "https://evil",
        "api_base": "https://evil",
        "x-goog-api-client": "google-genai-sdk/3.4.0",
        "user-agent": "someone",
    }
    async with client(fronting, "", authorization=f"Bearer {fronting.key}") as http:
        assert (await http.post(GENERATE, json=HELLO, headers={**passed, **stopped})).status_code == 200
    sent = remote.requests[0].headers
    assert {name: sent.get(name) for name in passed} == passed
    own = {"host", "user-agent", "accept-encoding", "x-goog-api-key", "content-length"}
    assert set(sent) == {*passed, *own}
    assert (sent["user-agent"], sent["x-goog-api-key"]) == ("interactions-gateway", UPSTREAM_KEY)
    assert sent["host"] == remote.url.removeprefix("http://")


async def test_s5_no_header_of_the_upstreams_that_is_not_on_the_list_comes_down(http, remote) -> None:
    stopped = {
        "set_cookie": "a=b",
        "location": "https://evil",
        "server": "ESF",
        "strict_transport_security": "max-age=1",
        "access_control_allow_origin": "*",
        "x_guploader_uploadid": "secret",
        "alt_svc": "h3",
        "x_powered_by": "x",
        "www_authenticate": "Basic",
        "keep_alive": "timeout=5",
        "trailer": "expires",
        "via": "1.1 google",
    }
    passed = {
        "x_gemini_service_tier": "priority",
        "etag": '"1"',
        "cache_control": "no-store",
        "retry_after": "3",
    }
    remote.script(answer({}, **stopped, **passed))
    answered = await http.post(GENERATE, json=HELLO)
    ours = {"content-type", "x-content-type-options", "content-security-policy", "transfer-encoding"}
    ours.add("x-request-id")
    assert set(answered.headers) == {*(name.replace("_", "-") for name in passed), *ours}
    assert answered.headers["x-gemini-service-tier"] == "priority"
    assert answered.headers["content-security-policy"].startswith("sandbox")


async def test_the_key_in_a_query_stays_here(fronting, remote, other_key) -> None:
    remote.script(answer({}))
    async with client(fronting, "") as http:
        assert (await http.post(f"{STREAM}&key={other_key}&a=%26b", json=HELLO)).status_code == 200
    assert remote.requests[0].line == f"POST {STREAM}&a=%26b HTTP/1.1"
    assert other_key not in fronting.log()


@pytest.mark.parametrize(
    "parameter",
    ["$httpMethod", "access_token", "callback", "%24key", "upload_id", "upload_protocol", "quotaUser"],
)
async def test_a_parameter_that_would_make_it_another_request_is_refused(http, remote, parameter) -> None:
    refused = await http.get(f"/v1beta/models?{parameter}=DELETE")
    assert rpc(refused) == (400, "INVALID_ARGUMENT")
    assert remote.requests == []


TRICKS = [
    "/v1beta/files/../models",
    "/v1beta/files/%2e%2e/models",
    "/v1beta/files/%2E./models",
    "/v1beta/models/..%2ffiles",
    "/v1beta/models/m%2foperations%2fx",
    "/v1beta//files",
    "//evil.example/v1beta/files",
    "/v1beta/models/%2e",
    "/v1beta/models/m;x=1",
    "/v1beta/models/m%3bx",
    "/v1beta/models/m\\x",
    "/v1beta/models/m%5cx",
    "/v1beta/models/m%00",
    "/v1beta/models/m%0d%0aHost:%20evil",
    "/v1beta/models/%ff%fe",
    "/v1beta/models/evil.example@host",
    "/v1beta/models/user@evil.example:80",
    "/v1beta/models/%C3%A9",
    "/v1beta/models/m:deleteEverything",
    "/v1beta/models/m:generateContent:generateContent",
    "/v1beta/models/-rf",
    "/v1beta/modelsx",
    "/v1beta/corpora",
    "/v1beta/operations",
    "/v1beta/models/m/operations",
    "/v1beta/openai/chat/completions",
    "/v1alpha/auth_tokens",
    "/v2/models",
    "/v1beta/projects/p/locations/l/models",
    "/upload/v1beta/models",
    "/upload/v1beta/../v1beta/files",
    "/download/v1beta/files/x",
    "http://evil.example/v1beta/corpora",
]


@pytest.mark.parametrize("target", TRICKS)
def test_a8_a_path_that_is_not_on_the_list_goes_nowhere(fronting: Gateway, remote, target) -> None:
    answered = ask(fronting, request(fronting, "GET", target))
    assert answered.status in (400, 404), answered
    assert answered.json()["error"]["status"] in ("INVALID_ARGUMENT", "NOT_FOUND")
    assert remote.requests == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"])
def test_a_method_that_is_not_on_the_list_goes_nowhere(fronting: Gateway, remote, method) -> None:
    assert ask(fronting, request(fronting, method, "/v1beta/models/m"), method).status == 404
    assert remote.requests == []


@pytest.mark.parametrize(("sent", "arrives"), [
    ("/v1beta/models/m%3AgenerateContent", GENERATE),
    ("/v1beta/models/%6D:generateContent?x=%41", f"{GENERATE}?x=A"),
])  # fmt: skip
async def test_a_path_goes_up_in_its_one_form(fronting: Gateway, remote, sent, arrives) -> None:
    remote.script(answer({}))
    asked = request(fronting, "POST", sent, json.dumps(HELLO).encode())
    assert (await asyncio.to_thread(ask, fronting, asked)).status == 200
    assert remote.requests[0].line == f"POST {arrives} HTTP/1.1"


async def test_without_a_key_nothing_is_said(fronting, remote) -> None:
    async with client(fronting, "") as http:
        for target in ("/v1beta/models", "/v1beta/files/x", "/upload/v1beta/files"):
            refused = await http.get(target)
            assert rpc(refused) == (401, "UNAUTHENTICATED")
    assert remote.requests == []


async def test_events_pass_as_they_come(http, remote) -> None:
    first, second, gate = b'data: {"a":1}\r\n\r\n', b'data: {"b":2}\r\n\r\n', Gate()
    remote.script(head(content_type="text/event-stream"), first, gate, second)
    async with http.stream("POST", STREAM, json=HELLO) as answered:
        assert answered.headers["content-type"] == "text/event-stream"
        came = answered.aiter_raw()
        assert await anext(came) == first
        gate.open()
        assert [piece async for piece in came] == [second]


async def test_the_head_of_an_answer_is_told_before_its_body_is_there(http, remote) -> None:
    remote.script(head(content_type="text/event-stream"), HANG)
    async with http.stream("POST", STREAM, json=HELLO) as answered:
        assert answered.status_code == 200


async def leave(upstream: ScriptedUpstream, asking: Coroutine[Any, Any, httpx.Response]) -> None:
    """Ask, and go once the upstream has been asked."""
    asked, call = len(upstream.requests), asyncio.ensure_future(asking)
    await asked_for(upstream, asked + 1)
    call.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await call


async def test_c1_c2_a_client_that_leaves_ends_the_work(scripted_gateway, upstream) -> None:
    """Before the answer, in the middle of it, and while the gateway reads it itself."""
    upstream.script(HANG)
    upstream.script(head(content_type="text/event-stream"), b"data: 1\n\n", HANG)
    upstream.script(answer({"name": "batches/b"}))
    upstream.script(head(), b" ", HANG)
    async with client(scripted_gateway) as http:
        await leave(upstream, http.post(GENERATE, json=HELLO))
        async with http.stream("POST", STREAM, json=HELLO) as answered:
            await anext(answered.aiter_raw())
        made = await http.post("/v1beta/models/m:batchGenerateContent", json={})
        assert made.json() == {"name": "batches/b"}
        await leave(upstream, http.get("/v1beta/batches/b"))
    for asked in (upstream.requests[0], upstream.requests[1], upstream.requests[3]):
        await asked.abandoned()
    await asyncio.to_thread(scripted_gateway.must_be_in_order)


@pytest.mark.parametrize("end", [RESET, b""])
async def test_u3_an_answer_that_breaks_off_is_seen_to_be_broken(http, remote, end) -> None:
    remote.script(head(transfer_encoding="chunked"), chunk(b"[1,"), Pause(0.1), end)
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post(GENERATE, json=HELLO)


async def test_u4_silence_in_the_middle_ends_it(http, remote) -> None:
    remote.script(head(content_type="text/event-stream"), b"data: 1\n\n", HANG)
    with pytest.raises(httpx.RemoteProtocolError):
        await http.post(STREAM, json=HELLO)


FAILURES = [
    ((RESET,), (502, "UNKNOWN")),
    ((HANG,), (504, "DEADLINE_EXCEEDED")),
    ((head("302 Found", location="http://169.254.169.254/"),), (502, "UNKNOWN")),
    ((head("302 Found", location="/v1beta/models"),), (502, "UNKNOWN")),
    (
        (answer({"error": {"code": 401, "message": "no", "status": "UNAUTHENTICATED"}}, "401 x"),),
        (502, "UNKNOWN"),
    ),
    (
        (answer({"error": {"code": 403, "message": "no", "status": "PERMISSION_DENIED"}}, "403 x"),),
        (502, "UNKNOWN"),
    ),
    (
        (
            answer(
                {"error": {"code": 400, "message": "API key not valid. Please pass a valid API key."}},
                "400 x",
            ),
        ),
        (502, "UNKNOWN"),
    ),
    (
        (answer({"error": {"code": 404, "message": "no model", "status": "NOT_FOUND"}}, "404 x"),),
        (404, "NOT_FOUND"),
    ),
    (
        (answer({"error": {"code": 400, "message": "no", "status": "FAILED_PRECONDITION"}}, "400 x"),),
        (400, "FAILED_PRECONDITION"),
    ),
    (
        (answer([{"error": {"code": 400, "message": "no", "status": "OUT_OF_RANGE"}}], "400 x"),),
        (400, "OUT_OF_RANGE"),
    ),
    ((head("500 x", "text/html") + b"<html>",), (500, "INTERNAL")),
    ((head("503 x") + b"",), (503, "UNAVAILABLE")),
    ((head("429 x") + b"x" * 200_000,), (429, "RESOURCE_EXHAUSTED")),
]


@pytest.mark.parametrize(("script", "told"), FAILURES)
async def test_u2_what_fails_upstream_is_told_in_the_form_of_the_rest(http, remote, script, told) -> None:
    remote.script(*script)
    assert rpc(await http.post(GENERATE, json=HELLO)) == told
    assert len(remote.requests) == 1


async def test_u1_an_upstream_that_is_not_there(http) -> None:
    refused = await http.post(GENERATE, json=HELLO)
    assert rpc(refused) == (503, "UNAVAILABLE")
    assert "'remote'" in refused.json()["error"]["message"]


async def test_the_details_of_an_error_pass_as_far_as_they_are_about_the_request(http, remote) -> None:
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}
    about = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "metadata": {"consumer": "projects/1"}}
    said = {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED", "details": [retry, about]}
    remote.script(answer({"error": said}, "429 x", retry_after="34"))
    refused = await http.post(GENERATE, json=HELLO)
    assert refused.json() == {"error": {**said, "details": [retry]}}
    assert refused.headers["retry-after"] == "34"


async def test_s7_no_secret_comes_back(fronting, http, remote) -> None:
    said = {"code": 400, "message": f"bad {UPSTREAM_KEY} for {fronting.key}", "status": "INVALID_ARGUMENT"}
    details = [{"@type": "x.BadRequest", "text": UPSTREAM_KEY}]
    remote.script(answer({"error": {**said, "details": details}}, "400 x"))
    refused = await http.post(GENERATE, json=HELLO)
    assert refused.status_code == 400
    assert UPSTREAM_KEY not in refused.text
    assert fronting.key not in refused.text
    assert UPSTREAM_KEY not in fronting.log()


async def test_u10_a_download_is_found_at_its_other_known_address_only(http, remote, fronting) -> None:
    path = "/v1beta/models/m"
    for location in (f"/download{path}?alt=media", f"{remote.url}/download{path}"):
        remote.script(head("302 Found", location=location))
        remote.script(answer({"content": 1}))
    assert (await http.get(path)).json() == {"content": 1}
    assert (await http.get(f"{path}?alt=media")).json() == {"content": 1}
    assert [asked.line.split()[1] for asked in remote.requests] == [
        path,
        f"/download{path}",
        f"{path}?alt=media",
        f"/download{path}?alt=media",
    ]
    for location in (
        f"http://127.0.0.1:1/download{path}",
        f"//evil.example/download{path}",
        "/download/v1beta/files/other",
        f"/download{path}/../../files/other",
        f"http://u@{remote.url.removeprefix('http://')}/download{path}",
        "http://[",
    ):
        remote.requests.clear()
        remote.rescript(head("302 Found", location=location))
        assert rpc(await http.get(path))[0] == 502, location
        assert len(remote.requests) == 1


async def test_a_second_redirect_is_not_followed(http, remote) -> None:
    remote.script(head("302 Found", location="/download/v1beta/models/m"))
    assert rpc(await http.get("/v1beta/models/m"))[0] == 502
    assert len(remote.requests) == 2


BODIES = [
    (b"{", 400),
    (b"[]", 400),
    (b'{"a":NaN}', 400),
    (b'{"a":' * 200 + b"1" + b"}" * 200, 400),
    (b" " * 70_000, 413),
]


@pytest.mark.parametrize(("body", "status"), BODIES)
async def test_a_body_that_cannot_be_checked_is_not_sent(http, remote, body, status) -> None:
    refused = await http.post(GENERATE, content=body, headers={"content-type": "application/json"})
    assert rpc(refused)[0] == status
    assert remote.requests == []


async def test_c6_the_body_of_a_get_has_to_arrive_and_means_nothing(fronting: Gateway, remote) -> None:
    remote.script(answer({"models": []}))
    asked = request(fronting, "GET", "/v1beta/models", b"{}")
    assert (await asyncio.to_thread(ask, fronting, asked)).status == 200
    assert (remote.requests[0].body, "content-length" in remote.requests[0].headers) == (b"", False)
    refused = await asyncio.to_thread(ask, fronting, asked.removesuffix(b"{}"))
    assert (refused.status, refused.headers["connection"]) == (408, "close")
    assert len(remote.requests) == 1


async def test_s12_a_compressed_body_is_not_taken(http, remote) -> None:
    for target in (GENERATE, "/upload/v1beta/files"):
        refused = await http.post(target, content=b"x", headers={"content-encoding": "gzip"})
        assert rpc(refused)[0] == 415
    assert remote.requests == []


async def test_the_models_decide_the_upstream(start_gateway: GatewayFactory, upstream) -> None:
    second = ScriptedUpstream()
    async with second:
        settings = [
            {
                "name": "one",
                "kind": "interactions",
                "base_url": upstream.url,
                "api_keys": ["k1"],
                "models": ["a-*"],
            },
            {
                "name": "two",
                "kind": "interactions",
                "base_url": f"{second.url}/gw/",
                "api_keys": ["k2"],
                "models": ["b-*"],
            },
        ]
        gateway = await asyncio.to_thread(start_gateway, GATEWAY_UPSTREAMS=json.dumps(settings))
        upstream.script(answer({"models": [], "name": "cachedContents/c"}))
        second.script(answer({"candidates": []}))
        async with client(gateway) as http:
            assert (await http.post("/v1/models/b-1:generateContent", json=HELLO)).status_code == 200
            assert (await http.get("/v1/models")).status_code == 200
            assert rpc(await http.post("/v1/models/c-1:generateContent", json=HELLO)) == (404, "NOT_FOUND")
            assert (await http.post("/v1beta/cachedContents", json={})).status_code == 200
            body = {**HELLO, "cachedContent": "cachedContents/c"}
            assert rpc(await http.post("/v1beta/models/b-1:generateContent", json=body))[0] == 400
            elsewhere = {"model": "b-1", "input": "x", "cached_content": "cachedContents/c"}
            assert (await http.post("/v1beta/interactions", json=elsewhere)).status_code == 400
        assert [asked.line.split()[1] for asked in upstream.requests] == [
            "/v1/models",
            "/v1beta/cachedContents",
        ]
        assert [asked.line.split()[1] for asked in second.requests] == ["/gw/v1/models/b-1:generateContent"]


def test_the_embedded_simulator_has_the_rest_of_the_api(gateway: Gateway) -> None:
    with gateway.client() as http:
        assert http.get("/v1beta/models").json()["models"]
        text = http.post(GENERATE, json=HELLO).json()["candidates"][0]["content"]["parts"][0]["text"]
        assert "Hello" in text
        events = http.post(STREAM, json=HELLO).text
        pieces = [json.loads(line[6:]) for line in events.split("\r\n\r\n") if line]
        parts: Any = [each["candidates"][0]["content"]["parts"][0]["text"] for each in pieces]
        assert "".join(parts) == text
        begin = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start"}
        url = http.post("/upload/v1beta/files", headers=begin, json={}).headers["x-goog-upload-url"]
        last = {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}
        name = http.post(url, headers=last, content=b"content").json()["file"]["name"]
        assert http.get(f"/v1beta/{name}:download?alt=media").content == b"content"
        assert http.delete(f"/v1beta/{name}").json() == {}
        assert http.get(f"/v1beta/{name}").status_code == 404
        assert rpc(http.get("/v1beta/models/missing-x")) == (404, "NOT_FOUND")
    gateway.must_be_in_order()


def test_the_hot_routes_come_first(gateway: Gateway) -> None:
    """Every collection is a route of its own: none of them stands before /interactions or hides it."""
    assert all(re.fullmatch(r"[A-Za-z]+", name) and name != "interactions" for name in resources.COLLECTIONS)
    with gateway.client() as http:
        assert http.put("/v1beta/interactions/v1_12345678").status_code == 405
