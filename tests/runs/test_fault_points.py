"""Row P1 of the fault list, in full: kill -9 before every statement of a run, and around every commit."""

import asyncio
import contextlib
import json
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.conftest import GatewayFactory
from tests.support import PATIENCE
from tests.support.client import Client, events
from tests.support.mortal import Nursery
from tests.support.records import Records
from tests.support.runs import PATH, QUICK, SAID, STEP, STREAM, ended, must_be_whole, until
from tests.support.upstream import Pause, ScriptedUpstream, sse

AT_ONCE, POINTS = 3, 24
"""More than a run of three commits has."""


@dataclass
class Life:
    """One process that is to die at a fault point, and what its client saw of the run."""

    point: int
    died: bool = False
    found: str | None = None
    told: bytes = b""


async def live(nursery: Nursery, point: int, **body: Any) -> Life:
    """One run in a process that dies at this point, as its client sees it."""
    mortal, life, whole = await asyncio.to_thread(nursery.start, point), Life(point), False
    async with Client(mortal) as client:
        with contextlib.suppress(httpx.TransportError):
            asked = {"model": "m", "input": f"to die at {point}", "background": True, **body}
            async with client.http.stream("POST", PATH, json=asked) as response:
                async for chunk in response.aiter_raw():
                    life.told += chunk
            if not body:
                await ended(client, json.loads(life.told)["id"])
            whole = True
    with contextlib.suppress(TimeoutError):  # one that has told the end may still be about to die
        await until(lambda: mortal.dead, 1 if whole else PATIENCE)
    life.died = mortal.dead
    mortal.kill()
    return life


@pytest.mark.parametrize("body", [{}, {"stream": True}], ids=["polled", "streamed"])
async def test_p1_killed_at_every_statement(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream, database_url: str, body: dict[str, Any]
) -> None:
    upstream.script(STREAM + sse(*SAID[:4]), Pause(0.1), sse(*SAID[4:-1]), Pause(0.1), sse(SAID[-1]))
    # Leases do not lapse before all are dead: none of them shall take up what another one has left.
    survivor = await asyncio.to_thread(start_gateway, upstream.url, **{**QUICK, "GATEWAY_RUNS__LEASE": "600"})
    lives: list[Life] = []
    with Nursery(survivor) as nursery:
        while len(lives) < POINTS and all(life.died for life in lives):
            points = range(len(lives) + 1, len(lives) + 1 + AT_ONCE)
            lives += await asyncio.gather(*(live(nursery, point, **body) for point in points))
    assert sum(life.died for life in lives) >= 10, "a run has more fault points than that"
    assert not lives[-1].died, "all of them must have been tried"
    async with Client(survivor) as client:
        with Records(database_url) as records:
            records.change("UPDATE interactions SET lease_until = 0 WHERE lease_until IS NOT NULL")
            await until(lambda: not records.count("interactions", "status = 'in_progress'"))
            rows = records.rows("SELECT id, input FROM interactions")
        for life in lives:
            mine = [str(row[0]) for row in rows if f'"to die at {life.point}"'.encode() in row[1]]
            assert len(mine) == (life.point > 2), "a row is there from its commit on, and not before"
            for found in mine:
                await must_be_in_order(client, found, life, streamed=bool(body))
    with Records(database_url) as records:
        assert records.count("interactions", "lease_until IS NOT NULL") == 0
        assert records.count("interactions", "attempt > 2") == 0
    await asyncio.to_thread(survivor.must_be_in_order)


async def must_be_in_order(client: Client, found: str, life: Life, *, streamed: bool) -> None:
    """One end, events without gap or repeat, what was told is what is there, no text of two attempts."""
    shown, whole = (await client.get(found)).json(), await client.replay(found)
    must_be_whole(whole)
    if streamed:
        assert whole.events[: len(events(life.told))] == events(life.told), life
    if shown["status"] == "completed":
        assert shown["steps"][1:] == [STEP]
        assert whole.done
    else:
        assert (shown["status"], shown["errors"][0]["code"]) == ("failed", "aborted"), life
        assert streamed, "nobody had read of it"
