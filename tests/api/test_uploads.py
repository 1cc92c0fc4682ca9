"""Uploads: session URLs that lead back through the gateway, broken ones that go on, large ones that flow."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import repeat
from pathlib import Path

import httpx
import pytest

from tests.api.conftest import SIMULATOR_KEYS, client, new_key, upstreams
from tests.conftest import UPSTREAM_KEY, GatewayFactory
from tests.support import PATIENCE
from tests.support.databases import Templates
from tests.support.gateway import Gateway
from tests.support.raw import Answer, ask, connect, request
from tests.support.records import Records
from tests.support.simulator import Simulator
from tests.support.upstream import RESET, answer, head

BEGIN = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start"}
QUERY = {"X-Goog-Upload-Command": "query"}
FINALIZE = {"X-Goog-Upload-Command": "finalize"}
FILES = "/upload/v1beta/files"


def piece(offset: int, *, last: bool = False) -> dict[str, str]:
    command = "upload, finalize" if last else "upload"
    return {"X-Goog-Upload-Command": command, "X-Goog-Upload-Offset": str(offset)}


def session(remote_url: str, **more: str) -> bytes:
    """An upstream's answer to the start of an upload."""
    return head(x_goog_upload_url=remote_url, x_goog_upload_status="active", **more)


@pytest.fixture
def nobody(simulated: Gateway) -> Iterator[httpx.Client]:
    """A client without a key."""
    with httpx.Client(trust_env=False, timeout=30) as http:
        yield http


def test_a_file_is_uploaded_in_pieces_without_a_key(project, nobody, simulated: Gateway) -> None:
    http = project()
    began = http.post(FILES, headers=BEGIN, json={"file": {"display_name": "n"}})
    assert (began.status_code, began.headers["x-goog-upload-status"]) == (200, "active")
    url = began.headers["x-goog-upload-url"]
    assert url.startswith(f"{simulated.url}/upload/v1beta/sessions/")
    assert began.headers["x-goog-upload-control-url"] == url
    assert nobody.post(url, headers=piece(0), content=b"one ").headers["x-goog-upload-status"] == "active"
    asked = nobody.post(url, headers=QUERY)
    assert (asked.status_code, asked.headers["x-goog-upload-size-received"]) == (200, "4")
    refused = nobody.post(url, headers=piece(3), content=b"two")
    assert (refused.status_code, refused.headers["x-goog-upload-status"]) == (400, "active")
    done = nobody.post(url, headers=piece(4, last=True), content=b"two")
    assert (done.status_code, done.headers["x-goog-upload-status"]) == (200, "final")
    file = done.json()["file"]
    assert (file["displayName"], file["sizeBytes"]) == ("n", "7")
    assert http.get(f"/v1beta/{file['name']}:download?alt=media").content == b"one two"
    assert [each["name"] for each in http.get("/v1beta/files").json()["files"]] == [file["name"]]
    assert project().get(f"/v1beta/{file['name']}").status_code == 404


def test_the_end_of_an_upload_may_be_asked_for_again(project, nobody) -> None:
    """Its answer was lost: the query tells it, and the file is still its project's."""
    http = project()
    url = http.post(FILES, headers=BEGIN).headers["x-goog-upload-url"]
    name = nobody.post(url, headers=piece(0, last=True), content=b"x").json()["file"]["name"]
    for _ in range(2):
        again = nobody.post(url, headers=QUERY)
        assert (again.headers["x-goog-upload-status"], again.json()["file"]["name"]) == ("final", name)
    assert http.get(f"/v1beta/{name}").status_code == 200


@pytest.mark.parametrize("broken_by", ["the client", "the death of the gateway"])
async def test_a_broken_upload_goes_on_where_it_stopped_at_any_replica(
    simulator: Simulator, start_gateway: GatewayFactory, broken_by: str
) -> None:
    """Meanwhile it is seen to arrive: nothing waits for the end of a piece."""
    content = bytes(range(256)) * 4096
    settings = {
        "GATEWAY_UPSTREAMS": upstreams(simulator.url, *SIMULATOR_KEYS),
        "GATEWAY_PUBLIC_URL": "http://gw.example",
    }
    first, second = [await asyncio.to_thread(start_gateway, **settings) for _ in range(2)]
    async with client(first) as http:
        began = await http.post(FILES, headers=BEGIN)
    path = began.headers["x-goog-upload-url"].removeprefix("http://gw.example")
    half = request(first, "POST", path, b"", content_length=str(len(content)), **under(piece(0)))
    async with client(second, "") as http:
        with connect(first) as connection:
            await asyncio.to_thread(connection.send, half + content[:500_000])
            await received(http, path, 500_000)
            if broken_by != "the client":
                first.kill()
        await received(http, path, 500_000)
        done = await http.post(path, headers=piece(500_000, last=True), content=content[500_000:])
        name = done.json()["file"]["name"]
        got = await http.get(f"/v1beta/{name}:download?alt=media", headers={"x-goog-api-key": first.key})
    assert got.content == content
    second.must_be_in_order()
    assert "Traceback" not in first.log()


async def received(http: httpx.AsyncClient, path: str, size: int) -> None:
    """Ask until so much of the upload has arrived."""
    async with asyncio.timeout(PATIENCE):
        while True:
            asked = await http.post(path, headers=QUERY)
            assert (asked.status_code, asked.headers["x-goog-upload-status"]) == (200, "active")
            if asked.headers["x-goog-upload-size-received"] == str(size):
                return
            await asyncio.sleep(0.02)


def under(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("-", "_"): value for name, value in headers.items()}


async def begun(http: httpx.AsyncClient, remote, **more: str) -> str:
    """Begin an upload before the scripted upstream; the path of our session."""
    url = f"{remote.url}/upload/v1beta/files?upload_id=U&upload_protocol=resumable"
    remote.rescript(session(url, **more))
    found = await http.post(FILES, headers=BEGIN, json={})
    assert found.status_code == 200, found.text
    return str(httpx.URL(found.headers["x-goog-upload-url"]).path)


async def test_the_session_of_the_upstream_stays_here(fronting, http, remote) -> None:
    path = await begun(http, remote, x_guploader_uploadid="secret")
    more = {"location": "http://evil", "set_cookie": "a=b", "x_guploader_uploadid": "secret"}
    remote.rescript(head(x_goog_upload_status="active", x_goog_upload_size_received="1", **more))
    stopped = {"cookie": "a=b", "x-goog-user-project": "p", "x-forwarded-host": "evil"}
    async with client(fronting, "", **stopped) as nobody:
        told = await nobody.post(path, headers={**piece(0), "content-type": "application/json"}, content=b"x")
    assert (told.status_code, told.headers["x-goog-upload-size-received"]) == (200, "1")
    assert not {name.replace("_", "-") for name in more} & set(told.headers)
    asked = remote.requests[1]
    assert asked.line == "POST /upload/v1beta/files?upload_id=U&upload_protocol=resumable HTTP/1.1"
    assert (asked.body, asked.headers["x-goog-upload-offset"]) == (b"x", "0")
    assert not {*stopped, "x-goog-api-key", "authorization"} & set(asked.headers)


async def test_a_session_url_that_is_badly_written_stays_one_request(http, remote) -> None:
    remote.rescript(session(f"{remote.url}/upload/a b?upload_id=x HTTP/1.1"))
    url = (await http.post(FILES, headers=BEGIN, json={})).headers["x-goog-upload-url"]
    remote.rescript(head(x_goog_upload_status="active"))
    assert (await http.post(httpx.URL(url).path, headers=QUERY)).status_code == 200
    assert remote.requests[1].line == "POST /upload/a%20b?upload_id=x%20HTTP%2F1.1 HTTP/1.1"


async def test_the_name_of_a_file_goes_up_as_it_came(fronting, remote) -> None:
    remote.script(session(f"{remote.url}/upload/x?upload_id=U"))
    named = request(fronting, "POST", FILES, b"{}", **under(BEGIN), x_goog_upload_file_name="NAME")
    answered = await asyncio.to_thread(ask, fronting, named.replace(b"NAME", "é—.txt".encode()))
    assert answered.status == 200
    assert remote.requests[0].headers["x-goog-upload-file-name"].encode("latin-1") == "é—.txt".encode()


async def test_a_key_in_the_upstreams_url_is_not_kept(fronting, http, remote) -> None:
    remote.script(session(f"{remote.url}/upload/v1beta/files?key={UPSTREAM_KEY}&upload_id=U"))
    found = await http.post(FILES, headers=BEGIN, json={})
    assert UPSTREAM_KEY not in str(found.headers)
    with Records(fronting.database_url) as records:
        text = records.text()
    assert b"upload_id=U" in text
    assert UPSTREAM_KEY.encode() not in text
    token = found.headers["x-goog-upload-url"].rpartition("/")[2]
    assert token.encode() not in text
    assert token not in fronting.log()


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/upload?upload_id=U",
        "//evil.example/upload",
        "http://127.0.0.1:1/upload",
        "https://127.0.0.1:{port}/upload",
        "http://u:p@127.0.0.1:{port}/upload",
        "http://[",
        "file:///etc/passwd",
    ],
)
async def test_an_upload_leads_nowhere_but_to_its_upstream(http, remote, remote_port, url) -> None:
    remote.script(session(url.format(port=remote_port)))
    refused = await http.post(FILES, headers=BEGIN, json={})
    assert refused.status_code == 502
    assert "x-goog-upload-url" not in refused.headers


async def test_what_opens_no_session_is_told_in_the_same_words(fronting, http, remote, other_key) -> None:
    """Tampered, foreign, expired: nothing tells one from another, nor from what never was."""
    path = await begun(http, remote)
    token = path.rpartition("/")[2]
    tampered = [token[:-1], token + "A", token.swapcase(), token[::-1], "A" * 43, "x" * 5000, "a b", "%C3%A9"]
    refused = []
    async with client(fronting, "") as nobody:
        refused += [await nobody.post(f"/upload/v1beta/sessions/{each}", headers=QUERY) for each in tampered]
        refused.append(await nobody.post(path, headers={**QUERY, "x-goog-api-key": other_key}))
        assert (await nobody.post("/upload/v1beta/sessions/..%2f", headers=QUERY)).status_code == 400
        with Records(fronting.database_url) as records:
            records.change("UPDATE upload_sessions SET expires_at = 1")
        refused.append(await nobody.post(path, headers=QUERY))
    said = {"error": {"code": 404, "message": "Upload not found.", "status": "NOT_FOUND"}}
    for answered in refused:
        assert (answered.status_code, answered.json()) == (404, said)
        assert set(answered.headers) == set(refused[0].headers)
    assert len(remote.requests) == 1


@pytest.mark.parametrize("column", ["revoked_at", "expires_at"])
async def test_a4_a_session_lives_no_longer_than_its_key(fronting, remote, column) -> None:
    key = new_key(fronting)
    async with client(fronting, key) as http, client(fronting, "") as nobody:
        path = await begun(http, remote)
        remote.rescript(head(x_goog_upload_status="active"))
        assert (await nobody.post(path, headers=QUERY)).status_code == 200
        with Records(fronting.database_url) as records:
            records.change(f"UPDATE api_keys SET {column} = 1 WHERE prefix = '{key[:10]}'")
        refused = await nobody.post(path, headers=QUERY)
    said = "API key not valid. Please pass a valid API key."
    assert (refused.status_code, refused.json()["error"]["message"]) == (401, said)
    assert len(remote.requests) == 2


async def test_a_given_up_upload_is_over(fronting, http, remote) -> None:
    path = await begun(http, remote)
    remote.rescript(head(x_goog_upload_status="cancelled"))
    assert (await http.post(path, headers={"X-Goog-Upload-Command": "cancel"})).status_code == 200
    assert (await http.post(path, headers=QUERY)).status_code == 404
    assert len(remote.requests) == 2


@pytest.mark.parametrize("settings", [{}, {"GATEWAY_PUBLIC_URL": "https://llm.example/gemini/"}])
async def test_the_url_is_what_the_settings_say_else_what_the_client_asked_for(
    start_gateway: GatewayFactory, upstream, settings
) -> None:
    gateway = await asyncio.to_thread(start_gateway, upstream.url, **settings)
    upstream.script(session(f"{upstream.url}/upload/x?upload_id=U"))
    headers = {**BEGIN, "host": "me.example:99", "x-forwarded-host": "evil", "x-forwarded-proto": "https"}
    async with client(gateway) as http:
        url = (await http.post(FILES, headers=headers, json={})).headers["x-goog-upload-url"]
    base = "https://llm.example/gemini" if settings else "http://me.example:99"
    assert url.startswith(f"{base}/upload/v1beta/sessions/")


@pytest.mark.parametrize("host", ["evil/?", "a#@b", "a b", "x@y", "", "[::1", "a\\b"])
async def test_c9_a_host_that_is_none_makes_no_url(fronting, remote, host) -> None:
    asked = request(fronting, "POST", FILES, b"{}", **under(BEGIN)).replace(
        b"host: 127.0.0.1", f"host: {host}".encode()
    )
    found = await asyncio.to_thread(ask, fronting, asked)
    assert found.status == 400, found
    assert remote.requests == []


async def test_what_is_too_large_is_refused(fronting, http, remote) -> None:
    """limits.upload_bytes is 1 MiB here, limits.body_bytes 64 KiB."""
    most, whole = 2**20, "X-Goog-Upload-Header-Content-Length"
    assert (await http.post(FILES, headers={**BEGIN, whole: str(most + 1)}, json={})).status_code == 413
    assert (await http.post(FILES, headers={**BEGIN, whole: "x"}, json={})).status_code == 400
    assert (await announced(fronting, FILES, most + 1, **under(BEGIN))).status == 413
    assert remote.requests == []
    path = await begun(http, remote)
    remote.rescript(head(x_goog_upload_status="active"))
    assert (await http.post(path, headers=piece(0), content=b"x" * most)).status_code == 200
    assert (await announced(fronting, path, most + 1, **under(piece(0)))).status == 413
    assert (await http.post(path, headers=piece(most - 3), content=b"four")).status_code == 413
    assert (await http.post(path, headers={**QUERY, "x-goog-upload-offset": "-1"})).status_code == 400
    assert len(remote.requests) == 2


async def announced(gateway: Gateway, path: str, size: int, **headers: str) -> Answer:
    """The answer to a body of which only the length is sent."""
    asked = request(gateway, "POST", path, b"", content_length=str(size), **headers)
    return await asyncio.to_thread(ask, gateway, asked)


async def test_c7_an_upload_may_take_its_time_but_not_stop(fronting, http, remote) -> None:
    """limits.body_seconds is 1.5 here: of a body, all of it; of an upload, one pause."""
    path = await begun(http, remote)
    remote.rescript(head(x_goog_upload_status="active"))

    async def slowly() -> AsyncIterator[bytes]:
        for _ in range(7):
            yield b"x"
            await asyncio.sleep(0.4)

    sized = {**piece(0), "content-length": "7"}
    assert (await http.post(path, headers=sized, content=slowly())).status_code == 200
    assert remote.requests[1].body == b"xxxxxxx"
    assert (await announced(fronting, path, 7, **under(piece(0)))).status == 408
    assert len(remote.requests) == 2


async def test_u1_an_upstream_that_leaves_in_the_middle(http, remote) -> None:
    path = await begun(http, remote)
    remote.rescript(RESET)
    refused = await http.post(path, headers=piece(0), content=b"x")
    assert (refused.status_code, refused.json()["error"]["code"]) == (502, 502)


async def test_an_error_keeps_the_state_of_the_upload(http, remote) -> None:
    path = await begun(http, remote)
    error = {"error": {"code": 400, "message": "offset", "status": "INVALID_ARGUMENT"}}
    remote.rescript(answer(error, "400 x", x_goog_upload_status="active", x_goog_upload_size_received="3"))
    refused = await http.post(path, headers=piece(7), content=b"x")
    assert (refused.status_code, refused.json()) == (400, error)
    state = [refused.headers[f"x-goog-upload-{name}"] for name in ("status", "size-received")]
    assert state == ["active", "3"]


@asynccontextmanager
async def hasty(port: int, said: bytes = b"") -> AsyncIterator["asyncio.Queue[bytes]"]:
    """An upstream that answers when it has the headers; tells them, and then what else it got to the end."""
    heard: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.put_nowait(await reader.readuntil(b"\r\n\r\n"))
        writer.write(said)
        with suppress(ConnectionError):
            heard.put_nowait(await reader.read())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port):
        yield heard


def raw(gateway: Gateway, **headers: str) -> bytes:
    """The beginning of an upload in one request."""
    return request(gateway, "POST", FILES, b"", x_goog_upload_protocol="raw", **headers)


async def test_an_upstream_need_not_hear_everything_before_it_answers(fronting, remote_port) -> None:
    """And the connection with half a request on it is not used again."""
    refusal = b"HTTP/1.1 400 x\r\ncontent-length: 2\r\n\r\n{}"
    async with hasty(remote_port, refusal) as heard:
        asked = raw(fronting, content_length="1000") + b"x" * 10
        assert (await asyncio.to_thread(ask, fronting, asked)).status == 400
        await heard.get()
        assert await asyncio.wait_for(heard.get(), 5) == b"x" * 10


async def test_c1_a_client_that_leaves_ends_the_upload(start_gateway: GatewayFactory, remote_port) -> None:
    gateway = await asyncio.to_thread(start_gateway, f"http://127.0.0.1:{remote_port}")
    asked = raw(gateway, content_length="1000") + b"x" * 10
    async with hasty(remote_port) as heard:
        with connect(gateway) as connection:
            connection.send(asked)
            assert await asyncio.wait_for(heard.get(), 5)
        assert await asyncio.wait_for(heard.get(), 5) == b"x" * 10
    await asyncio.to_thread(gateway.must_be_in_order)


async def test_c6_chunks_without_end_stop_at_the_limit(fronting, remote_port) -> None:
    asked = raw(fronting, content_length="", transfer_encoding="chunked")
    async with hasty(remote_port) as heard:
        chunks = (b"8000\r\n" + b"x" * 2**15 + b"\r\n") * 33
        refused = await asyncio.to_thread(ask, fronting, asked + chunks)
        assert (refused.status, refused.headers["connection"]) == (413, "close")
        await heard.get()
        assert b"\r\n0\r\n" not in await asyncio.wait_for(heard.get(), 5)


AMBIGUOUS = [
    [*BEGIN.items(), ("X-Goog-Upload-Command", "upload, finalize")],
    [("X-Goog-Upload-Protocol", "raw"), *BEGIN.items()],
    [("X-Goog-Upload-Protocol", "resumable"), ("X-Goog-Upload-Command", "start, upload, finalize")],
    [("X-Goog-Upload-Protocol", "resumable")],
    [("X-Goog-Upload-Command", "start")],
]


@pytest.mark.parametrize("headers", AMBIGUOUS)
async def test_what_could_be_read_as_another_upload_is_refused(http, remote, headers) -> None:
    """What begins an upload is looked into, content is not: both sides must agree which of them it is."""
    refused = await http.post(FILES, headers=headers, content=b'{"file": {"name": "files/any"}}')
    assert (refused.status_code, refused.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert remote.requests == []


async def test_a_command_that_stands_twice_is_refused(http, remote) -> None:
    path = await begun(http, remote)
    refused = await http.post(path, headers=[*QUERY.items(), *piece(0).items()], content=b"x")
    assert (refused.status_code, len(remote.requests)) == (400, 1)


@pytest.mark.parametrize("resumable", [True, False])
async def test_a_file_that_cannot_be_written_down_is_not_handed_out(
    fronting, http, remote, resumable
) -> None:
    path, headers = FILES, {"X-Goog-Upload-Protocol": "raw"}
    if resumable:
        path, headers = await begun(http, remote), piece(0, last=True)
    remote.requests.clear()
    remote.rescript(answer({"file": {"name": "files/orphan"}}, x_goog_upload_status="final"))
    remote.script(answer({}))
    with Records(fronting.database_url) as records:
        records.change("ALTER TABLE upstream_resources RENAME TO hidden_resources")
        try:
            refused = await http.post(path, headers=headers, content=b"x")
        finally:
            records.change("ALTER TABLE hidden_resources RENAME TO upstream_resources")
    assert (refused.status_code, refused.json()["error"]["status"]) == (503, "UNAVAILABLE")
    assert [asked.line.split()[:2] for asked in remote.requests] == [
        ["POST", "/upload/v1beta/files" + ("?upload_id=U&upload_protocol=resumable" if resumable else "")],
        ["DELETE", "/v1beta/files/orphan"],
    ]
    assert (await http.get("/v1beta/files/orphan")).status_code == 404


def test_an_older_protocol_is_refused_by_name(project) -> None:
    refused = project().post(f"{FILES}?uploadType=resumable", json={})
    assert (refused.status_code, "X-Goog-Upload-Protocol" in refused.text) == (400, True)


def test_into_a_store_and_into_an_environment(project, nobody) -> None:
    mine, theirs = project(), project()
    store = mine.post("/v1beta/fileSearchStores", json={}).json()["name"]
    environment = mine.post("/v1beta/environments", json={}).json()["id"]
    for method, target in (
        ("POST", f"/upload/v1beta/{store}:uploadToFileSearchStore"),
        ("PUT", f"/upload/v1beta/environments/{environment}/files/src/a b.txt"),
    ):
        assert theirs.request(method, target, headers=BEGIN).status_code == 404
        url = mine.request(method, target, headers=BEGIN).headers["x-goog-upload-url"]
        assert nobody.post(url, headers=piece(0, last=True), content=b"text").status_code == 200
    assert mine.get(f"/v1beta/environments/{environment}/files/src/a b.txt?alt=media").content == b"text"
    (document,) = mine.get(f"/v1beta/{store}/documents").json()["documents"]
    assert mine.get(f"/v1beta/{document['name']}").status_code == 200
    assert theirs.get(f"/v1beta/{document['name']}").status_code == 404


async def test_with_ones_own_key_an_upload_comes_back_through_the_gateway_too(
    start_gateway: GatewayFactory, simulator: Simulator
) -> None:
    gateway = await asyncio.to_thread(start_gateway, simulator.url, GATEWAY_AUTH="passthrough")
    async with client(gateway, "AIza-own-key") as http, client(gateway, "") as nobody:
        url = (await http.post(FILES, headers=BEGIN, json={})).headers["x-goog-upload-url"]
        assert url.startswith(gateway.url)
        name = (await nobody.post(url, headers=piece(0, last=True), content=b"x")).json()["file"]["name"]
        assert (await http.get(f"/v1beta/{name}:download?alt=media")).content == b"x"
    with simulator.client("AIza-own-key") as own:
        assert own.get(f"/v1beta/{name}").status_code == 200
    with Records(gateway.database_url) as records:
        assert b"AIza-own-key" not in records.text()
        assert records.count("upstream_resources") == 0


def test_300_megabytes_pass_without_being_held(
    simulator: Simulator, templates: Templates, tmp_path: Path
) -> None:
    block, blocks = hashlib.sha256(b"seed").digest() * 2**15, 300
    size = blocks * len(block)
    with templates.fresh("sqlite") as url:
        gateway = Gateway(tmp_path, url, GATEWAY_UPSTREAMS=upstreams(simulator.url, *SIMULATOR_KEYS))
        try:
            with gateway.client() as http:
                there_and_back(http, block, 1)
                before = gateway.memory
                there_and_back(http, block, blocks)
            grown = gateway.most_memory - before
            gateway.must_be_in_order()
        finally:
            gateway.kill()
    assert grown < 40 * 2**20, f"{grown / 2**20:.0f} MiB more for {size / 2**20:.0f} MiB"


def there_and_back(http: httpx.Client, block: bytes, blocks: int) -> None:
    """Upload a file, download it again, and remove it."""
    url = http.post(FILES, headers=BEGIN, json={}).headers["x-goog-upload-url"]
    sized = {**piece(0, last=True), "content-length": str(blocks * len(block))}
    name = http.post(url, headers=sized, content=repeat(block, blocks)).json()["file"]["name"]
    up, down = hashlib.sha256(), hashlib.sha256()
    for each in repeat(block, blocks):
        up.update(each)
    with http.stream("GET", f"/v1beta/{name}:download?alt=media") as answered:
        for chunk in answered.iter_raw():
            down.update(chunk)
    assert down.digest() == up.digest()
    assert http.delete(f"/v1beta/{name}").json() == {}
