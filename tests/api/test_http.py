"""Row C10 of the fault list: methods, media types, expectations, and what a client says it accepts."""

import json

import pytest

from tests.support.gateway import Gateway
from tests.support.raw import ask, connect, request

GOOD = json.dumps({"model": "test-model", "input": "Hi", "store": False}).encode()
PATH = "/v1beta/interactions"
ABSENT = PATH + "/v1_absent-absent"


@pytest.mark.parametrize("version", ["v1beta", "v1", "v1alpha"])
def test_every_version_of_the_path_is_the_same(narrow: Gateway, version: str) -> None:
    answer = ask(narrow, request(narrow, target=f"/{version}/interactions", body=GOOD))
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        *((method, PATH, {"GET", "HEAD", "POST"}) for method in ("PUT", "PATCH", "DELETE", "OPTIONS")),
        *((method, ABSENT, {"GET", "HEAD", "DELETE"}) for method in ("POST", "PUT", "PATCH", "OPTIONS")),
        *((method, ABSENT + "/cancel", {"POST"}) for method in ("GET", "DELETE", "OPTIONS")),
    ],
)
def test_c10_method(narrow: Gateway, method: str, target: str, allowed: set[str]) -> None:
    answer = ask(narrow, request(narrow, method, target), method)
    assert answer.status == 405
    assert answer.json() == {"error": {"code": "invalid_request", "message": "Method not allowed."}}
    assert {name.strip() for name in answer.headers["allow"].split(",")} == allowed


def test_c10_method_that_nobody_knows(narrow: Gateway) -> None:
    assert ask(narrow, request(narrow, "BREW")).status == 400


def test_c10_head_has_no_body(narrow: Gateway) -> None:
    kept = narrow.create(input="Hi")["id"]
    with connect(narrow) as connection:
        connection.send(request(narrow, "HEAD", f"/v1beta/interactions/{kept}"))
        head = connection.answer("HEAD")
        connection.send(request(narrow, "GET", f"/v1beta/interactions/{kept}"))
        answer = connection.answer("GET")
    assert (head.status, head.body) == (200, b"")
    assert (answer.status, answer.json()["id"]) == (200, kept)


@pytest.mark.parametrize(
    "media",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonp",
        "application/json; charset=latin-1",
        "application/json; charset=utf-16",
        "application/json;charset=utf-8;charset=utf-16",
    ],
)
def test_c10_media_type(narrow: Gateway, media: str) -> None:
    answer = ask(narrow, request(narrow, body=GOOD, content_type=media))
    assert (answer.status, answer.json()["error"]["code"]) == (415, "invalid_request")


@pytest.mark.parametrize(
    "media", ["", "application/json", "Application/JSON; Charset=UTF-8", 'application/json; charset="utf-8"']
)
def test_c10_media_type_of_json(narrow: Gateway, media: str) -> None:
    assert ask(narrow, request(narrow, body=GOOD, content_type=media)).status == 200


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "gzip, identity"])
def test_c10_s12_compressed_body(narrow: Gateway, coding: str) -> None:
    answer = ask(narrow, request(narrow, body=b"\x1f\x8b" + GOOD, content_encoding=coding))
    assert (answer.status, answer.json()["error"]["code"]) == (415, "invalid_request")


def test_c10_expect_continue(narrow: Gateway) -> None:
    head = request(narrow, content_length=str(len(GOOD)), expect="100-continue")
    with connect(narrow) as connection:
        connection.send(head)
        assert connection.socket.recv(64) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(GOOD)
        assert connection.answer().status == 200


def test_c10_expect_continue_is_refused_before_the_body(narrow: Gateway) -> None:
    assert ask(narrow, request(narrow, content_length=str(10**9), expect="100-continue")).status == 413
    assert (
        ask(
            narrow, request(narrow, content_length="9", expect="100-continue", x_goog_api_key="igw_no")
        ).status
        == 401
    )


def test_c10_expect_anything_else(narrow: Gateway) -> None:
    assert ask(narrow, request(narrow, body=GOOD, expect="200-ok")).status == 417


@pytest.mark.parametrize(
    "accept", ["text/html", "application/xml;q=1", "*/*;q=0", "text/event-stream", "\xff"]
)
def test_c10_accept_decides_nothing(narrow: Gateway, accept: str) -> None:
    """SDKs accept only JSON while they stream, and only streams while they do not."""
    answer = ask(narrow, request(narrow, body=GOOD, accept=accept))
    assert answer.headers["content-type"] == "application/json"
    streamed = json.dumps({**json.loads(GOOD), "stream": True}).encode()
    assert (
        ask(narrow, request(narrow, body=streamed, accept=accept)).headers["content-type"]
        == "text/event-stream"
    )


def test_c10_upgrade_is_not_taken_up(narrow: Gateway) -> None:
    headers = {"connection": "upgrade", "upgrade": "websocket", "sec-websocket-key": "x" * 22 + "=="}
    assert ask(narrow, request(narrow, "GET", ABSENT, b"", **headers)).status == 404
    assert ask(narrow, request(narrow, "GET", ABSENT, connection="upgrade", upgrade="h2c")).status == 404


def test_errors_have_the_envelope_of_their_api(narrow: Gateway) -> None:
    ours = ask(narrow, request(narrow, "GET", "/v1beta/interactions/a/b"))
    theirs = ask(narrow, request(narrow, "GET", "/v1beta/modelz"))
    assert ours.json() == {"error": {"code": "not_found", "message": "Path not found."}}
    assert theirs.json() == {"error": {"code": 404, "message": "Path not found.", "status": "NOT_FOUND"}}


@pytest.mark.parametrize("target", ["/docs", "/openapi.json", "/redoc", "/admin", "/metrics/../docs"])
def test_nothing_else_is_served(narrow: Gateway, target: str) -> None:
    assert ask(narrow, request(narrow, "GET", target)).status in (400, 404)
