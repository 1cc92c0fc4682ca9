"""Row A11: the pepper is changed under gateways that serve, one process after the other."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from tests.api.conftest import SIMULATOR_KEYS, client, upstreams
from tests.conftest import GatewayFactory
from tests.support.gateway import _PEPPER as OLD
from tests.support.gateway import Gateway
from tests.support.simulator import Simulator

NEW = OLD[::-1]
BEFORE = {"GATEWAY_PEPPER": OLD}
PREPARED = {"GATEWAY_PEPPER": OLD, "GATEWAY_NEXT_PEPPER": NEW}
CHANGED = {"GATEWAY_PEPPER": NEW, "GATEWAY_PREVIOUS_PEPPER": OLD}
AFTER = {"GATEWAY_PEPPER": NEW}
BEGIN = {"X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start"}
INTERACTIONS = "/v1beta/interactions"

Start = Callable[[dict[str, str]], Awaitable[Gateway]]


@pytest.fixture
def start(start_gateway: GatewayFactory, simulator: Simulator) -> Start:
    """Start a gateway of this database with these peppers."""
    settings = {
        "GATEWAY_UPSTREAMS": upstreams(simulator.url, *SIMULATOR_KEYS),
        "GATEWAY_PUBLIC_URL": "http://gw.example",
        "GATEWAY_KEY_CACHE_SECONDS": "0",
        "GATEWAY_RETENTION__SWEEP_SECONDS": "0.2",
    }

    async def begun(peppers: dict[str, str]) -> Gateway:
        return await asyncio.to_thread(start_gateway, **settings, **peppers)

    return begun


async def uploaded(http: httpx.AsyncClient) -> str:
    """The URI of a new file."""
    began = await http.post("/upload/v1beta/files", headers=BEGIN)
    return str((await gone_on(http, began, "upload, finalize")).json()["file"]["uri"])


async def gone_on(http: httpx.AsyncClient, began: httpx.Response, command: str) -> httpx.Response:
    path = began.headers["x-goog-upload-url"].removeprefix("http://gw.example")
    headers = {"X-Goog-Upload-Command": command, "X-Goog-Upload-Offset": "0"}
    answer = await http.post(path, headers=headers, content=b"x" if "upload" in command else b"")
    assert answer.status_code == 200, answer.text
    return answer


async def shown(http: httpx.AsyncClient, *uris: str) -> int:
    """The status of a call that names these files."""
    parts = [{"fileData": {"fileUri": uri, "mimeType": "text/plain"}} for uri in uris]
    body = {"contents": [{"role": "user", "parts": parts}]}
    return (await http.post("/v1beta/models/m:generateContent", json=body)).status_code


async def continued(http: httpx.AsyncClient, parent: str) -> str:
    body = {"model": "m", "input": "Go on.", "previous_interaction_id": parent}
    answer = await http.post(INTERACTIONS, json=body)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


async def checked(gateway: Gateway) -> dict[str, Any]:
    """What `gateway doctor` says of the pepper, with the settings of this gateway."""
    found = await asyncio.to_thread(gateway.run, "doctor", "--json")
    return next(each for each in json.loads(found.stdout) if each["subject"] == "pepper")


@pytest.mark.timeout(300)
async def test_a11_whatever_counts_goes_on_counting_at_every_process(start: Start) -> None:
    first = await start(BEFORE)
    key = first.key
    token = json.loads(
        (await asyncio.to_thread(first.run, "tokens", "create", "ada", "--role", "viewer", "--json")).stdout
    )["token"]
    async with client(first, key) as http:
        conversation = await continued(http, first.create(input="Hi")["id"])
        old_file = await uploaded(http)
        under_way = await http.post("/upload/v1beta/files", headers=BEGIN)
    await asyncio.to_thread(first.stop)

    prepared, changed = await start(PREPARED), await start(CHANGED)
    made = json.loads(
        (
            await asyncio.to_thread(changed.run, "keys", "create", "-p", "default", "--name", "new", "--json")
        ).stdout
    )["key"]
    async with client(prepared, key) as here, client(changed, key) as there:
        for http in (there, here, there, here):
            conversation = await continued(http, conversation)
            admin = await http.get(
                "/admin/v1/projects", headers={"authorization": f"Bearer {token}", "x-goog-api-key": ""}
            )
            assert admin.status_code == 200, admin.text
            assert (await http.get(INTERACTIONS, headers={"x-goog-api-key": made})).status_code == 200
        await gone_on(there, under_way, "query")
        finished = await gone_on(here, under_way, "upload, finalize")
        new_files = [finished.json()["file"]["uri"], await uploaded(there)]
        for http in (here, there):
            assert await shown(http, old_file, *new_files) == 200
    prepared.must_be_in_order()
    for gateway in (prepared, changed):
        await asyncio.to_thread(gateway.stop)
    for gateway in (first, prepared, changed):
        assert "tampered" not in gateway.log()

    last = await start(CHANGED)
    deadline = time.monotonic() + 120
    while not (found := await checked(last))["text"].endswith("the previous one can go"):
        assert time.monotonic() < deadline, found
    await asyncio.to_thread(last.stop)
    after = await start(AFTER)
    async with client(after, key) as http:
        await continued(http, conversation)
        assert await shown(http, old_file, *new_files) == 200
        assert (await http.get(INTERACTIONS, headers={"x-goog-api-key": made})).status_code == 200
    verified = await asyncio.to_thread(after.run, "audit", "verify", "--json")
    assert verified.returncode == 0, verified.stdout
    assert await checked(after) == {"subject": "pepper", "ok": True, "text": "fits the keys in the database"}
    after.must_be_in_order()
