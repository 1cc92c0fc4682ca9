"""Rows A1 to A4 of the fault list: who is let in, and what a refusal costs and tells."""

import asyncio
import json
import time
import zlib

import pytest

from app.auth import keys
from app.auth.caller import Authenticator, Caller
from app.core.versions import Versions
from app.errors import Unauthenticated
from app.store.holders import Holder
from tests.conftest import UPSTREAM_KEY, GatewayFactory
from tests.support import PATIENCE
from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.raw import Answer, ask, connect, request
from tests.support.records import Records
from tests.support.upstream import ScriptedUpstream, answer

GOOD = json.dumps({"model": "test-model", "input": "Hi", "store": False}).encode()
INVALID = {"error": {"code": "authentication", "message": "API key not valid. Please pass a valid API key."}}


def present(narrow: Gateway, query: str = "", **headers: str) -> Answer:
    target = "/v1beta/interactions" + query
    return ask(narrow, request(narrow, "POST", target, GOOD, **{"x_goog_api_key": "", **headers}))


def test_a1_key_in_each_of_its_places(narrow: Gateway) -> None:
    assert present(narrow, x_goog_api_key=narrow.key).status == 200
    assert present(narrow, authorization=f"Bearer {narrow.key}").status == 200
    assert present(narrow, authorization=f"bearer  {narrow.key} ").status == 200
    assert present(narrow, f"?key={narrow.key}").status == 200
    assert present(narrow, f"?alt=sse&key={narrow.key}", x_goog_api_key=narrow.key).status == 200


def test_a1_no_key(narrow: Gateway) -> None:
    for found in (
        present(narrow),
        present(narrow, "?key="),
        present(narrow, authorization="Basic x"),
        present(narrow, authorization="Bearer"),
        present(narrow, authorization=narrow.key),
    ):
        assert found.status == 401
        assert found.json()["error"]["code"] == "authentication"


def test_a1_two_different_keys(narrow: Gateway) -> None:
    other = keys.new_key()
    for found in (
        present(narrow, f"?key={other}", x_goog_api_key=narrow.key),
        present(narrow, authorization=f"Bearer {other}", x_goog_api_key=narrow.key),
        present(narrow, f"?key={narrow.key}&key={other}"),
        present(narrow, f"?key={narrow.key}", authorization=f"Bearer {other}"),
    ):
        assert (found.status, found.json()["error"]["code"]) == (401, "authentication")


def mistyped(key: str) -> str:
    return key[:-1] + ("a" if key[-1] != "a" else "b")


WRONG = {
    "unknown": keys.new_key(),
    "bad checksum": mistyped(keys.new_key()),
    "checksum of another alphabet": "igw_" + "a" * 36 + f"{zlib.crc32(b'a' * 36):06x}"[:6],
    "wrong prefix": "sk-" + keys.new_key()[4:],
    "google's": "AIzaSy" + "x" * 33,
    "too short": keys.new_key()[:-1],
    "too long": keys.new_key() + "a",
    "long": "igw_" + "a" * 5000,
    "non-ascii": keys.new_key()[:-1] + "\xe9",
    "sql": "' OR 1=1 --",
    "spaces": "igw_ a",
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a2_wrong_key_is_the_same_401(narrow: Gateway, wrong: str) -> None:
    found = present(narrow, x_goog_api_key=wrong)
    assert (found.status, found.json()) == (401, INVALID)


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
def test_a2_every_route_asks(narrow: Gateway, method: str) -> None:
    kept = narrow.create(input="Hi")["id"]
    path = f"/v1beta/interactions/{kept}" + ("/cancel" if method == "POST" else "")
    found = ask(narrow, request(narrow, method, path, x_goog_api_key=WRONG["unknown"]), method)
    assert (found.status, found.json()) == (401, INVALID)


def test_a2_key_of_a_megabyte(narrow: Gateway) -> None:
    assert present(narrow, x_goog_api_key="igw_" + "a" * 2**20).status == 431
    assert present(narrow, "?key=" + "a" * 2**20).status == 431


def test_a2_key_with_nul(narrow: Gateway) -> None:
    assert present(narrow, x_goog_api_key="igw_\x00").status == 400
    assert present(narrow, "?key=igw_%00").json() == INVALID


def test_a2_authentication_comes_before_the_body(narrow: Gateway) -> None:
    with connect(narrow) as connection:
        connection.send(request(narrow, content_length="1000", x_goog_api_key=WRONG["unknown"]))
        assert connection.answer().status == 401


async def test_a2_a3_shape_is_checked_without_a_question_to_the_database() -> None:
    """The same two steps for every key: its shape, then one lookup by digest."""
    asked: list[bytes] = []

    async def lookup(digests: Versions[bytes]) -> Holder | None:
        asked.append(digests.current)
        return None

    authenticator = Authenticator(Versions(b"pepper"), lookup, passthrough=False, cache_seconds=5)

    async def caller(key: bytes) -> Caller:
        return await authenticator.caller([(b"x-goog-api-key", key)], b"")

    for name, wrong in WRONG.items():
        with pytest.raises(Unauthenticated):
            await caller(wrong.encode("latin-1"))
        assert len(asked) == (1 if name == "unknown" else 0)
        asked.clear()
    for _ in range(3):  # a refusal is not remembered, so that a new key is valid at once
        with pytest.raises(Unauthenticated):
            await caller(WRONG["unknown"].encode())
    assert asked == [keys.digest(b"pepper", WRONG["unknown"])] * 3


def test_a4_revoked_key_is_refused_within_the_cache_time(impatient: Gateway) -> None:
    key = impatient.new_key("default")
    with Records(impatient.database_url) as records:
        [[key_id]] = records.rows("SELECT id FROM api_keys ORDER BY created_at DESC LIMIT 1")
    with impatient.client(key) as client:
        assert client.get("/v1beta/interactions/v1_absent-absent").status_code == 404
        assert impatient.run("keys", "revoke", key_id).returncode == 0
        revoked = time.monotonic()
        while client.get("/v1beta/interactions/v1_absent-absent").status_code == 404:
            assert time.monotonic() - revoked < PATIENCE
            time.sleep(0.05)
        assert client.get("/v1beta/interactions/v1_absent-absent").json() == INVALID
    assert key not in impatient.log()


async def test_passthrough_sends_the_callers_key_and_makes_it_the_project(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    gateway = await asyncio.to_thread(start_gateway, upstream.url, GATEWAY_AUTH="passthrough")
    mine, theirs = "AIzaSyMine" + "x" * 29, "any-shape/of:key"
    upstream.script(answer({"status": "completed", "steps": []}))
    async with Client(gateway, mine) as me, Client(gateway, theirs) as them:
        first = await me.create()
        assert first.status == 200
        assert (await them.create()).status == 200
        assert [asked.headers["x-goog-api-key"] for asked in upstream.requests] == [mine, theirs]
        assert (await me.get(first.id)).status == 200
        for refused in (
            await them.get(first.id),
            await them.replay(first.id),
            await them.delete(first.id),
            await them.create(previous_interaction_id=first.id),
        ):
            assert refused.status == 404
        assert (await me.get(first.id)).status == 200
        assert (await me.http.post("/v1beta/interactions", headers={"x-goog-api-key": ""})).status_code == 401
        said = {"error": {"code": "authentication", "message": f"Key {theirs} is not valid."}}
        for status in (401, 403):  # here it is the caller's key that was refused, not ours
            upstream.script(answer(said, f"{status} No"))
        await them.create()  # what was left of the script before
        for status in (401, 403):
            refused = await them.create()
            assert refused.status == status
            assert refused.json()["error"] == {"code": "authentication", "message": "Key *** is not valid."}
    with Records(gateway.database_url) as records:
        text = records.text()
    for key in (mine, theirs, UPSTREAM_KEY):
        assert key.encode() not in text
        assert key not in gateway.log()
    assert all(UPSTREAM_KEY not in asked.headers.values() for asked in upstream.requests)
