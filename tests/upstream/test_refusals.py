"""Rows U1, U2, U8, U10 and U11 of the fault list: an upstream that cannot be reached, or says no."""

import asyncio
import gzip
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import UPSTREAM_KEY
from tests.support.client import Client
from tests.support.failing import STREAM, ask, must_be_recorded, must_be_refused, must_have_failed
from tests.support.gateway import Gateway
from tests.support.upstream import ScriptedUpstream, answer, head, sse, text_events

both = pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])
SECRETS = f"{UPSTREAM_KEY} https://x.example/?key={UPSTREAM_KEY} Bearer {UPSTREAM_KEY} AIza{'x' * 35}"


# --- U1: no connection ---


@both
@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("name", ["refused", "unknown"])
async def test_u1_no_connection(
    impatient: Gateway, client: Client, name: str, streamed: bool, stored: bool
) -> None:
    heard = await client.create(model=f"{name}-model", stream=streamed, store=stored)
    message = must_be_refused(heard, 503, "service_unavailable")
    assert message == f"The upstream '{name}' cannot be reached."
    assert heard.headers["retry-after"]
    must_be_recorded(impatient, code="service_unavailable", stored=stored)


@both
async def test_u1_upstream_that_speaks_no_tls(client: Client, upstream_port: int, streamed: bool) -> None:
    async def connected(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(connected, "127.0.0.1", upstream_port):
        heard = await client.create(model="tls-model", stream=streamed)
    assert must_be_refused(heard, 503, "service_unavailable") == "The upstream 'tls' cannot be reached."


@pytest.mark.parametrize("model", ["tls-model", "scripted-model"])
async def test_u1_no_connection_in_time(client: Client, upstream_port: int, model: str) -> None:
    """A listener that takes no more connections, and one that never answers the TLS greeting."""
    with socket.create_server(("127.0.0.1", upstream_port), backlog=0) as silent, ExitStack() as taken:
        for _ in range(2 if model == "scripted-model" else 0):
            made = taken.enter_context(socket.socket())
            made.setblocking(False)
            made.connect_ex(silent.getsockname())
        heard = await client.create(model=model)
    assert "did not answer in time" in must_be_refused(heard, 504, "deadline_exceeded")


@pytest.fixture
async def stranger(upstream_port: int, tmp_path: Path) -> AsyncIterator[list[bytes]]:
    """A TLS server with a certificate that nobody has vouched for, and what it was told."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(_certificate(tmp_path / "certificate.pem"))
    heard: list[bytes] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65536))
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", upstream_port, ssl=context)
    async with server:
        yield heard


def _certificate(path: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    plain = serialization.NoEncryption()
    form = serialization.PrivateFormat.PKCS8
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, form, plain)
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@both
async def test_u1_wrong_certificate(client: Client, stranger: list[bytes], streamed: bool) -> None:
    heard = await client.create(model="tls-model", stream=streamed)
    assert must_be_refused(heard, 503, "service_unavailable") == "The upstream 'tls' cannot be reached."
    assert not any(stranger)


# --- U2: an error status ---

STATUSES = [400, 402, 404, 408, 409, 429, 499, 500, 501, 503, 504, 529]


@both
@pytest.mark.parametrize("status", STATUSES)
async def test_u2_status_code_and_message_are_the_upstreams(
    impatient: Gateway, client: Client, faulty: ScriptedUpstream, status: int, streamed: bool
) -> None:
    said = {"error": {"code": "some_code", "message": "Why not."}}
    script = answer(said, f"{status} No", retry_after="7")
    heard = await ask(client, faulty, script, stream=streamed)
    assert must_be_refused(heard, status, "some_code") == "Why not."
    assert heard.headers["retry-after"] == "7"
    must_be_recorded(impatient, code="some_code")


@both
@pytest.mark.parametrize("status", [401, 403])
async def test_u2_refused_credential_is_not_the_clients(
    impatient: Gateway, client: Client, faulty: ScriptedUpstream, status: int, streamed: bool
) -> None:
    said = {"error": {"code": "authentication", "message": f"Key {UPSTREAM_KEY} is not valid."}}
    heard = await ask(client, faulty, answer(said, f"{status} No"), stream=streamed)
    message = must_be_refused(heard, 502, "bad_gateway")
    assert message == f"The upstream 'scripted' refused the gateway's credential (HTTP {status})."
    must_be_recorded(impatient, code="bad_gateway")


BODIES = {
    "google.rpc": b'{"error":{"code":404,"message":"Gone.","status":"NOT_FOUND"}}',
    "in a list": b'[{"error":{"code":404,"message":"Gone.","status":"NOT_FOUND"}}]',
    "html": b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    "empty": b"",
    "nothing": b"null",
    "number": b"5",
    "list": b"[]",
    "list of lists": b"[[]]",
    "no error": b"{}",
    "error that is a text": b'{"error":"no"}',
    "wrong types": b'{"error":{"code":[],"message":{},"status":1}}',
    "half": b'{"error":{"code":"x","mess',
    "not utf-8": b'{"error":{"code":"x","message":"\xff"}}',
    "deep": b"[" * 30_000,
    "10 MB": b'{"error":{"message":"' + b"x" * 10_000_000 + b'"}}',
    "too long for its length": b"",
}


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize("name", BODIES)
async def test_u2_body_of_any_kind(client: Client, faulty: ScriptedUpstream, name: str, status: int) -> None:
    more = {"content_length": "1000"} if name.startswith("too long") else {}
    heard = await ask(client, faulty, head(f"{status} No", "text/html", **more) + BODIES[name])
    if more:
        assert must_be_refused(heard, 502, "bad_gateway")
        return
    said = name in ("google.rpc", "in a list")
    code = {400: "invalid_request", 500: "api_error"}[status]
    message = must_be_refused(heard, status, "not_found" if said else code)
    assert message == ("Gone." if said else f"The upstream 'scripted' answered with HTTP {status}.")


@both
async def test_u2_message_is_scrubbed(
    impatient: Gateway, client: Client, faulty: ScriptedUpstream, streamed: bool
) -> None:
    said = {"error": {"code": f"x{UPSTREAM_KEY}", "message": f"Bad: {SECRETS} {'y' * 5000}"}}
    heard = await ask(client, faulty, answer(said, "400 No"), stream=streamed)
    assert heard.status == 400
    assert UPSTREAM_KEY.encode() not in heard.body
    assert b"AIza" not in heard.body
    assert heard.json()["error"]["message"].startswith("Bad: *** https://x.example/?key=*** ")
    assert len(heard.body) < 2500
    assert UPSTREAM_KEY not in impatient.log()


@pytest.mark.parametrize(
    "value", ["7", "Wed, 21 Oct 2026 07:28:00 GMT", "1\x01", "\xff", "x" * 100, "7\x7f", "<b>"]
)
async def test_u2_retry_after_is_passed_on_only_if_it_is_one(
    client: Client, faulty: ScriptedUpstream, value: str
) -> None:
    script = f"HTTP/1.1 429 Slow\r\nretry-after: {value}\r\ncontent-length: 0\r\n\r\n".encode("latin-1")
    heard = await ask(client, faulty, script)
    assert heard.status in (429, 502)
    good = value[0] in "7W" and value.isprintable()
    assert heard.headers.get("retry-after") == (value if good else None)


@both
@pytest.mark.parametrize("status", ["100 Continue", "204 No", "206 Part", "299 Odd", "600 No", "999 No"])
async def test_u2_status_that_is_no_answer(
    client: Client, faulty: ScriptedUpstream, status: str, streamed: bool
) -> None:
    must_be_refused(await ask(client, faulty, head(status), stream=streamed), 502, "bad_gateway")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nset-cookie: a=b\r\n",
    ],
)
@both
async def test_u2_what_is_not_http(
    client: Client, faulty: ScriptedUpstream, raw: bytes, streamed: bool
) -> None:
    must_be_refused(await ask(client, faulty, raw, stream=streamed), 502, "bad_gateway")


async def test_s5_upstreams_headers_stay_upstream(client: Client, faulty: ScriptedUpstream) -> None:
    more = {"set_cookie": "a=b", "server": "x", "location": "http://evil.example", "x_google": "1"}
    for streamed in (False, True):
        said = (
            STREAM[:-2] + b"set-cookie: a=b\r\nserver: x\r\n\r\n" + sse(*text_events("a"))
            if streamed
            else answer({"status": "completed", "steps": []}, **more)
        )
        heard = await ask(client, faulty, said, stream=streamed)
        assert heard.status == 200
        assert not {"set-cookie", "server", "location", "x-google"} & set(heard.headers)


async def test_s4_clients_headers_stay_here(client: Client, faulty: ScriptedUpstream) -> None:
    faulty.script(answer({"status": "completed", "steps": []}))
    headers = {
        "cookie": "a=b",
        "x-forwarded-for": "6.6.6.6",
        "x-goog-user-project": "p",
        "x-api-base": "http://evil.example",
        "api-revision": "2026-05-20",
        "referer": "http://evil.example",
    }
    body = {"model": "m", "input": "Hi", "api_base": "http://evil.example", "base_url": "http://evil.example"}
    await client.http.post("/v1beta/interactions?alt=sse&base_url=evil.example", json=body, headers=headers)
    [asked] = faulty.requests
    assert asked.line == "POST /v1beta/interactions HTTP/1.1"
    assert set(asked.headers) == {
        "host",
        "accept",
        "accept-encoding",
        "user-agent",
        "content-type",
        "content-length",
        "x-goog-api-key",
    }
    assert asked.headers["x-goog-api-key"] == UPSTREAM_KEY


# --- an `error` event ---


@both
@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        ({"code": "invalid_request", "message": "no"}, 400, "invalid_request"),
        ({"code": "rate_limit_exceeded", "message": "no"}, 429, "rate_limit_exceeded"),
        ({"code": 503, "message": "no", "status": "UNAVAILABLE"}, 503, "service_unavailable"),
        ({"code": "authentication", "message": "no"}, 502, "bad_gateway"),
        ({"code": "permission_denied", "message": "no"}, 502, "bad_gateway"),
        ({"code": 401, "message": "no"}, 502, "bad_gateway"),
        ({"code": "never_heard_of", "message": "no"}, 500, "never_heard_of"),
        ({}, 500, "api_error"),
        (None, 500, "api_error"),
        ("no", 500, "api_error"),
    ],
)
async def test_u2_error_event_before_anything_else(
    client: Client, faulty: ScriptedUpstream, said: object, status: int, code: str, streamed: bool
) -> None:
    heard = await ask(client, faulty, STREAM + sse({"event_type": "error", "error": said}), stream=streamed)
    if streamed:
        assert (await must_have_failed(client, heard))["code"] == code
    else:
        must_be_refused(heard, status, code)


async def test_u2_error_event_is_scrubbed(client: Client, faulty: ScriptedUpstream) -> None:
    said = {"event_type": "error", "error": {"code": "x", "message": SECRETS, "details": [SECRETS]}}
    heard = await ask(client, faulty, STREAM + sse(*text_events("a")[:4], said), stream=True)
    await must_have_failed(client, heard)
    kept = (await client.get(heard.id)).body
    assert UPSTREAM_KEY.encode() not in heard.body + kept


# --- U8: the other form than the one that was asked for ---


async def test_u8_json_where_a_stream_was_asked(client: Client, faulty: ScriptedUpstream) -> None:
    step = {"type": "model_output", "content": [{"type": "text", "text": "a"}]}
    heard = await ask(client, faulty, answer({"status": "completed", "steps": [step]}), stream=True)
    assert heard.done
    assert [event["event_type"] for event in heard.events] == [
        "interaction.created",
        "step.start",
        "step.stop",
        "interaction.completed",
    ]
    assert (await client.get(heard.id)).json()["steps"][1:] == [step]
    assert (await client.replay(heard.id)).body == heard.body


async def test_u8_stream_where_json_was_asked(client: Client, faulty: ScriptedUpstream) -> None:
    heard = await ask(client, faulty, STREAM + sse(*text_events("a", "b"), done=True))
    step = {"type": "model_output", "content": [{"type": "text", "text": "ab"}]}
    assert heard.status == 200
    assert heard.json()["steps"] == [step]
    assert heard.json()["usage"]["total_tokens"] == 3


@both
@pytest.mark.parametrize(
    "media", ["", "text/plain", "text/event-streams", "TEXT/EVENT-STREAM; charset=utf-8"]
)
async def test_u8_media_type_that_says_nothing(
    client: Client, faulty: ScriptedUpstream, media: str, streamed: bool
) -> None:
    said = b'{"status":"completed","steps":[]}'
    if media.startswith("TEXT"):
        said = sse(*text_events("a"))
    heard = await ask(client, faulty, head("200 OK", media) + said, stream=streamed)
    assert heard.status == 200
    assert heard.done or not streamed


@both
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"[1]",
        b'"text"',
        b"{}",
        b'{"error":{"code":"x","message":"y"}}',
        b'{"status":"in_progress"}',
        b'{"status":1,"steps":{}}',
        b'{"status":"completed","steps":{"a":1}}',
        b'{"status":"completed","steps":[1]}',
        b'{"status":"completed","steps":[{}]}',
        b'{"status":"completed","steps":[{"type":1}]}',
        b'{"status":"completed","steps":[],"x":NaN}',
        b'{"status":"completed","steps":[],"x":"\\ud800"}',
        b'{"status":"completed","steps":[],"x":"\xff"}',
        b'{"status":"completed","steps":[],"x":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"status":"completed","steps":[],"x":' + b"[" * 300 + b"]" * 300 + b"}",
        b'{"status":"completed","steps":[]',
        b"<html></html>",
    ],
)
async def test_u6_answer_that_makes_no_sense(
    client: Client, faulty: ScriptedUpstream, body: bytes, streamed: bool
) -> None:
    heard = await ask(client, faulty, head() + body, stream=streamed)
    if heard.is_stream:  # the first steps were in order
        assert (await must_have_failed(client, heard))["code"] == "bad_gateway"
    else:
        assert "sent a broken" in must_be_refused(heard, 502, "bad_gateway")


# --- U10: redirects ---


@both
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", ["itself", "http://169.254.169.254/", "/other", ""])
async def test_u10_redirects_are_not_followed(
    client: Client, faulty: ScriptedUpstream, status: int, place: str, streamed: bool
) -> None:
    where = faulty.url if place == "itself" else place
    heard = await ask(client, faulty, head(f"{status} Moved", location=where), stream=streamed)
    message = must_be_refused(heard, 502, "bad_gateway")
    assert "169.254" not in message
    assert len(faulty.requests) == 1


# --- U11: compression ---


@both
@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "zstd", "x-unknown", "identity, gzip"])
async def test_u11_compressed_although_not_accepted(
    client: Client, faulty: ScriptedUpstream, coding: str, streamed: bool
) -> None:
    bomb = gzip.compress(b" " * 20_000_000)
    media = "text/event-stream" if streamed else "application/json"
    heard = await ask(client, faulty, head("200 OK", media, content_encoding=coding) + bomb, stream=streamed)
    assert "compressed" in must_be_refused(heard, 502, "bad_gateway")
    assert faulty.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["gzip", "br"])
async def test_u11_compressed_error(client: Client, faulty: ScriptedUpstream, coding: str) -> None:
    bomb = gzip.compress(b" " * 20_000_000)
    heard = await ask(client, faulty, head("500 No", content_encoding=coding) + bomb)
    assert must_be_refused(heard, 500, "api_error") == "The upstream 'scripted' answered with HTTP 500."
