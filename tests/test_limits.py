"""What a request may cost before anybody looks at it: bytes, headers, time, and only one meaning."""

import json
import time

import pytest

from tests.support import PATIENCE
from tests.support.gateway import Gateway
from tests.support.raw import Connection, ask, connect, request

GOOD = json.dumps({"model": "test-model", "input": "Hi", "store": False}).encode()
LIMIT = 65536
DEADLINE = 1.5


@pytest.fixture(autouse=True)
def in_order(narrow: Gateway):
    """No request of a test leaves the server in disorder."""
    yield
    assert ask(narrow, request(narrow, body=GOOD)).status == 200
    narrow.must_be_in_order()


def must_refuse(narrow: Gateway, data: bytes, status: int) -> None:
    """Answered with this status, in the API's envelope, and the connection closed."""
    with connect(narrow) as connection:
        connection.send(data)
        answer = connection.answer()
        assert answer.status == status, answer
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["error"]["message"]
        assert answer.headers["connection"] == "close"
        assert answer.headers["x-request-id"].startswith("req_")
        assert connection.closed()


# --- C6: bodies ---


def test_c6_body_at_the_limit(narrow: Gateway) -> None:
    body = GOOD + b" " * (LIMIT - len(GOOD))
    assert ask(narrow, request(narrow, body=body)).status == 200


def test_c6_body_larger_than_the_limit(narrow: Gateway) -> None:
    must_refuse(narrow, request(narrow, body=b" " * (LIMIT + 1)), 413)


def test_c6_body_announced_larger_than_the_limit_is_not_read(narrow: Gateway) -> None:
    must_refuse(narrow, request(narrow, content_length=str(10**12)), 413)
    must_refuse(narrow, request(narrow, content_length="9" * 18), 413)


def test_c6_chunked_body_larger_than_the_limit(narrow: Gateway) -> None:
    head = request(narrow, content_length="", transfer_encoding="chunked")
    must_refuse(narrow, head + (b"4000\r\n" + b" " * 0x4000 + b"\r\n") * 5, 413)


def test_c6_content_length_too_long(narrow: Gateway) -> None:
    began = time.monotonic()
    must_refuse(narrow, request(narrow, body=GOOD, content_length=str(len(GOOD) + 1)), 408)
    assert DEADLINE / 2 < time.monotonic() - began < PATIENCE / 2


def test_c6_content_length_too_short(narrow: Gateway) -> None:
    must_refuse(narrow, request(narrow, body=GOOD, content_length=str(len(GOOD) - 5)), 400)


@pytest.mark.parametrize("length", ["-1", "+5", "5, 5", "1e3", "0x10", "a", "18446744073709551616"])
def test_c6_content_length_that_is_none(narrow: Gateway, length: str) -> None:
    with connect(narrow) as connection:
        connection.send(request(narrow, content_length=length))
        assert connection.answer().status in (400, 413)
        assert connection.closed()


def test_c6_chunked_without_end(narrow: Gateway) -> None:
    head = request(narrow, content_length="", transfer_encoding="chunked")
    must_refuse(narrow, head + b"%x\r\n%s\r\n" % (len(GOOD), GOOD), 408)


def test_c6_chunked(narrow: Gateway) -> None:
    head = request(narrow, content_length="", transfer_encoding="chunked")
    chunks = b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in GOOD)
    assert ask(narrow, head + chunks + b"0\r\n\r\n").status == 200


def test_c6_client_leaves_in_the_body(narrow: Gateway) -> None:
    with connect(narrow) as connection:
        connection.send(request(narrow, body=GOOD)[:-3])


def test_c6_trailers_are_no_headers(narrow: Gateway) -> None:
    head = request(narrow, content_length="", transfer_encoding="chunked", x_goog_api_key="")
    body = b"%x\r\n%s\r\n0\r\nx-goog-api-key: %s\r\n\r\n" % (len(GOOD), GOOD, narrow.key.encode())
    assert ask(narrow, head + body).status == 401


def test_c6_rest_of_a_refused_body_is_not_read_for_ever(narrow: Gateway) -> None:
    with connect(narrow) as connection:
        head = request(narrow, content_length="", transfer_encoding="chunked", x_goog_api_key="igw_no")
        connection.send(head)
        assert connection.answer().status == 401
        began = time.monotonic()
        connection.socket.settimeout(0.1)
        while time.monotonic() - began < PATIENCE / 2:
            connection.send(b"1\r\nx\r\n")
            try:
                assert connection.closed()
                break
            except TimeoutError:
                continue
        assert DEADLINE / 2 < time.monotonic() - began < PATIENCE / 2


# --- C7: slowness ---


@pytest.mark.parametrize(
    "half", [b"", b"\r\n", b"POST", b"POST /v1beta/interactions HTTP/1.1\r\nHost: 127.0.0.1\r\nX: "]
)
def test_c7_half_sent_headers_are_closed_at_the_deadline(narrow: Gateway, half: bytes) -> None:
    began = time.monotonic()
    connections = [Connection(narrow) for _ in range(50)]
    for connection in connections:
        connection.send(half)
    assert ask(narrow, request(narrow, body=GOOD)).status == 200
    for connection in connections:
        assert connection.closed()
        connection.close()
    assert DEADLINE / 2 < time.monotonic() - began < PATIENCE / 2


def test_c7_headers_that_trickle_are_closed_at_the_deadline(narrow: Gateway) -> None:
    with connect(narrow, timeout=0.1) as connection:
        began = time.monotonic()
        for byte in request(narrow, body=GOOD):
            connection.send(bytes([byte]))
            try:
                assert connection.closed()
                break
            except TimeoutError:
                continue
        assert DEADLINE / 2 < time.monotonic() - began < PATIENCE / 2


def test_c7_second_request_has_the_deadline_too(narrow: Gateway) -> None:
    with connect(narrow) as connection:
        connection.send(request(narrow, body=GOOD))
        assert connection.answer().status == 200
        began = time.monotonic()
        connection.send(request(narrow, body=GOOD)[:40])
        assert connection.closed()
        assert DEADLINE / 2 < time.monotonic() - began < PATIENCE / 2


def test_c7_an_answer_may_take_longer_than_a_header(narrow: Gateway) -> None:
    slow = json.dumps({"model": "m", "input": "[[sim tokens=1 delay_ms=1800]]", "store": False}).encode()
    began = time.monotonic()
    with connect(narrow) as connection:
        for body in (slow, GOOD):
            connection.send(request(narrow, body=body))
            assert connection.answer().status == 200
    assert time.monotonic() - began > DEADLINE


# --- 431 ---


def test_431_header_bytes(narrow: Gateway) -> None:
    must_refuse(narrow, request(narrow, body=GOOD, x_long="x" * 8192), 431)
    must_refuse(narrow, request(narrow, "POST", "/v1beta/interactions?x=" + "x" * 8192, GOOD), 431)


def test_431_header_count(narrow: Gateway) -> None:
    many = {f"x-{number}": "1" for number in range(40)}
    must_refuse(narrow, request(narrow, body=GOOD, **many), 431)


@pytest.mark.parametrize(
    "begin", [b"GET /v1beta/interactions/", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\nX"]
)
def test_431_endless_header(narrow: Gateway, begin: bytes) -> None:
    with connect(narrow) as connection:
        connection.send(begin)
        endless = b"x" * 2**26  # what the system buffers is a few megabytes
        with pytest.raises(ConnectionError):
            connection.socket.sendall(endless)
        answer = connection.answer()
        assert (answer.status, answer.headers["x-request-id"][:4]) == (431, "req_")
        assert connection.closed()


# --- C8: one meaning only ---


@pytest.mark.parametrize(
    "lines",
    [
        b"content-length: 3\r\ntransfer-encoding: chunked",
        b"transfer-encoding: chunked\r\ncontent-length: 3",
        b"content-length: 3\r\ncontent-length: 3",
        b"content-length: 3\r\ncontent-length: 4",
        b"transfer-encoding: chunked\r\ntransfer-encoding: chunked",
        b"transfer-encoding: gzip, chunked",
        b"transfer-encoding: identity",
        b"transfer-encoding: xchunked",
        b"transfer-encoding : chunked",
        b"host: evil.example\r\ncontent-length: 0",
    ],
)
def test_c8_ambiguous_framing(narrow: Gateway, lines: bytes) -> None:
    head, _, _ = request(narrow, content_length="").partition(b"\r\n\r\n")
    with connect(narrow) as connection:
        connection.send(head + b"\r\n" + lines + b"\r\n\r\n0\r\n\r\n")
        assert connection.answer().status == 400
        assert connection.closed()


def test_c8_pipelined_requests_are_answered_in_order(narrow: Gateway) -> None:
    texts = ["slow [[sim tokens=2 delay_ms=100]]", "quick"]
    bodies = [json.dumps({"model": text[:4], "input": text}).encode() for text in texts]
    missing = request(narrow, "GET", "/v1beta/interactions/v1_absent-absent")
    with connect(narrow) as connection:
        connection.send(request(narrow, body=bodies[0]) + missing + request(narrow, body=bodies[1]))
        answers = [connection.answer() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 404, 200]
    assert [answer.json().get("model") for answer in answers] == ["slow", None, "quic"]


@pytest.mark.parametrize(
    "target",
    [
        "//v1beta/interactions",
        "/v1beta//interactions",
        "/v1beta/./interactions",
        "/v1beta/../v1beta/interactions",
        "/v1beta/%2e%2e/v1beta/interactions",
        "/v1beta/%2E%2E/admin",
        "/v1beta/../admin",
        "/v1beta%2finteractions",
        "/v1beta%2Finteractions",
        "/v1beta/interactions%00",
        "/v1beta/interactions%0d%0ax: y",
        "/v1beta/interactions;x=1",
        "/v1beta/interactions%3bx=1",
        "/v1beta\\interactions",
        "/v1beta%5cinteractions",
        "/v1beta/interactions/%e2%80%a8",
        "*",
        "v1beta/interactions",
        "/v1beta/interactions\xff",
    ],
)
def test_c8_path_that_is_not_canonical(narrow: Gateway, target: str) -> None:
    for key in (narrow.key, ""):  # the key makes no difference: nobody has asked for it yet
        with connect(narrow) as connection:
            connection.send(request(narrow, target=target, body=GOOD, x_goog_api_key=key))
            assert connection.answer().status == 400


@pytest.mark.parametrize("target", ["/v1beta/%69nteractions", "http://evil.example/v1beta/interactions"])
def test_c8_same_route_needs_the_same_key(narrow: Gateway, target: str) -> None:
    assert ask(narrow, request(narrow, target=target, body=GOOD)).status == 200
    assert ask(narrow, request(narrow, target=target, body=GOOD, x_goog_api_key="")).status == 401


@pytest.mark.parametrize(
    "target", ["/v1beta/interactions/", "/V1BETA/interactions", "/v1beta/interactions%20", "/"]
)
def test_c8_other_paths_are_not_found(narrow: Gateway, target: str) -> None:
    assert ask(narrow, request(narrow, target=target, body=GOOD)).status == 404


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nhost: evil.example\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n folded: yes\r\n\r\n",
    ],
)
def test_c8_what_is_not_http(narrow: Gateway, garbage: bytes) -> None:
    must_refuse(narrow, garbage, 400)


@pytest.mark.parametrize("host", ["evil/?", "a#@b", "127.0.0.1:99999", "", "[::1", "x" * 300])
def test_c9_host_has_no_effect(narrow: Gateway, host: str) -> None:
    headers = {"host": host, "x-forwarded-host": "evil.example", "x-forwarded-for": "6.6.6.6"}
    answer = ask(narrow, request(narrow, body=GOOD, **headers))
    assert answer.status in (200, 400)
    assert b"evil" not in answer.body
    assert "evil.example" not in narrow.log()
