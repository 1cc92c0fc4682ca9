"""Promise 4: the end of an interaction is told only after it is committed."""

import asyncio
import threading
from typing import Any

import httpx

from tests.conftest import GatewayFactory
from tests.support.client import events
from tests.support.gateway import Gateway

PATH = "/v1beta/interactions"
TURNS = 25


async def test_an_end_that_was_told_can_be_continued_from_another_process(
    start_gateway: GatewayFactory,
) -> None:
    one, two = await asyncio.gather(*(asyncio.to_thread(start_gateway) for _ in range(2)))
    key = one.key
    results: list[list[Any]] = [[] for _ in range(4)]
    talks = [
        threading.Thread(target=_talk, args=(one, two, key, number % 2 == 1, found))
        for number, found in enumerate(results)
    ]
    for talk in talks:
        talk.start()
    for talk in talks:
        await asyncio.to_thread(talk.join)
    assert results == [[200] * (2 * TURNS)] * 4


def _talk(one: Gateway, two: Gateway, key: str, streamed: bool, found: list[Any]) -> None:
    """A conversation that changes sides with each turn, as fast as it can."""
    headers = {"x-goog-api-key": key}
    with (
        httpx.Client(base_url=one.url, headers=headers, trust_env=False, timeout=20, verify=False) as here,
        httpx.Client(base_url=two.url, headers=headers, trust_env=False, timeout=20, verify=False) as there,
    ):
        previous: str | None = None
        for _ in range(TURNS):
            for client in (here, there):
                body = {"model": "m", "input": "Hi", "previous_interaction_id": previous, "stream": streamed}
                status, previous = _turn(client, body)
                found.append(status)


def _turn(client: httpx.Client, body: dict[str, Any]) -> tuple[int, str | None]:
    """The status and the id, as soon as the end has been told."""
    with client.stream("POST", PATH, json=body) as response:
        if response.status_code != 200 or not body["stream"]:
            response.read()
            return response.status_code, response.json().get("id")
        raw = b""
        for chunk in response.iter_raw():
            raw += chunk
            if b"event: interaction.completed" in raw and raw.endswith(b"\n\n"):
                break
        return response.status_code, str(events(raw)[0]["interaction"]["id"])
