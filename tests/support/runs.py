"""Durable runs as their clients meet them: begun, asked for until they have ended, cancelled."""

import asyncio
from collections.abc import Callable
from typing import Any

from tests.support import PATIENCE
from tests.support.client import Client, Heard
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.upstream import Action, Pause, ScriptedUpstream, head, sse, text_events

PATH = "/v1beta/interactions"
SAID = text_events("a", "b", "c")
STREAM = head("200 OK", "text/event-stream")
STEP = {"type": "model_output", "content": [{"text": "abc", "type": "text"}]}
QUICK = {"GATEWAY_RUNS__LEASE": "3", "GATEWAY_RUNS__HEARTBEAT": "0.5", "GATEWAY_RUNS__POLL": "0.3"}
GOING = ("queued", "in_progress")


def slowly(pause: float = 0.05) -> list[Action]:
    """A whole answer, its events one by one."""
    return [STREAM, *(action for event in SAID for action in (sse(event), Pause(pause)))]


async def post(client: Client, headers: dict[str, str] | None = None, **body: Any) -> Heard:
    """POST an interaction with headers of one's own."""
    return await client._hear("POST", PATH, json=client.asked(**body), headers=headers or {})


async def begin(client: Client, **body: Any) -> str:
    """The id of a background run that has been begun."""
    begun = await client.create(background=True, **body)
    assert begun.status == 200, begun
    return begun.id


async def cancel(client: Client, found: str) -> Heard:
    """What a cancel is answered."""
    return await client._hear("POST", f"{PATH}/{found}/cancel")


async def ended(client: Client, found: str, seconds: float = PATIENCE) -> dict[str, Any]:
    """The interaction, once it has ended."""
    async with asyncio.timeout(seconds):
        while (shown := (await client.get(found)).json())["status"] in GOING:
            await asyncio.sleep(0.03)
    return dict(shown)


async def until(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait for something that happens elsewhere."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def asked_for(upstream: ScriptedUpstream, count: int = 1) -> None:
    """Wait until the upstream has been asked so often."""
    await until(lambda: len(upstream.requests) >= count)


async def written(gateway: Gateway, table: str = "interaction_events", condition: str = "1 = 1") -> None:
    """Wait until there is such a row."""
    with Records(gateway.database_url) as records:
        await until(lambda: records.count(table, condition))


def numbers(heard: list[dict[str, Any]]) -> list[int]:
    """The numbers of these events."""
    return [int(event["event_id"].rpartition("_")[2]) for event in heard]


def kinds(heard: list[dict[str, Any]]) -> list[str]:
    """The types of these events."""
    return [event["event_type"] for event in heard]


def must_be_whole(heard: Heard) -> None:
    """Events 1, 2, 3, …, of which the last and only the last is an end."""
    assert numbers(heard.events) == [*range(1, len(heard.events) + 1)], heard.body
    ends = [kind for kind in kinds(heard.events) if kind in {"interaction.completed", "error"}]
    assert ends == [kinds(heard.events)[-1]], heard.body
