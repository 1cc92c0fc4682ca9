"""Row P14 of the fault list, end to end: notices that nobody hears cost latency and nothing else."""

import asyncio
import contextlib

import psycopg
import pytest

from tests.conftest import GatewayFactory
from tests.support.client import Client
from tests.support.runs import QUICK, SAID, STREAM, begin, cancel, ended, must_be_whole, slowly, written
from tests.support.upstream import HANG, Pause, ScriptedUpstream, sse

POLL = 0.5


async def deafen(url: str) -> int:
    """End every connection that listens or notifies; how many there were."""
    statement = (
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND (query ILIKE 'LISTEN%' OR query ILIKE '%pg_notify%')"
    )
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        found = await (await connection.execute(statement)).fetchone()
    assert found
    return int(found[0])


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_p14_deaf_replicas_follow_cancel_and_queue_a_poll_later(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream, database_url: str
) -> None:
    settings = {**QUICK, "GATEWAY_RUNS__POLL": str(POLL), "GATEWAY_RUNS__BACKGROUND": "1"}
    one, other = await asyncio.gather(
        *(asyncio.to_thread(start_gateway, upstream.url, **settings) for _ in range(2))
    )
    killed = 0

    async def keep_deaf() -> None:
        nonlocal killed
        while True:
            killed += await deafen(database_url)
            await asyncio.sleep(0.05)

    deaf = asyncio.create_task(keep_deaf())
    async with Client(one) as here, Client(other, one.key) as there:
        while killed < 2:
            await asyncio.sleep(0.05)
        upstream.script(STREAM + sse(*SAID[:4]), Pause(1), sse(*SAID[4:]))
        followed = await there.replay(await begin(here))
        must_be_whole(followed)
        assert followed.done
        upstream.rescript(STREAM + sse(*SAID[:4]), HANG)
        found = await begin(here, input="silent")
        queued = await begin(here, input="in the queue")  # the other replica finds it by looking
        await written(one, condition=f"interaction_id = '{found}'")
        await written(one, "interactions", f"id = '{queued}' AND status = 'in_progress'")
        assert (await cancel(there, found)).json()["status"] == "cancelled"
        await upstream.requests[1].abandoned()
        await cancel(here, queued)
        deaf.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await deaf
        upstream.rescript(*slowly(0))
        assert (await ended(there, await begin(here, input="again")))["status"] == "completed"
    for gateway in (one, other):
        gateway.must_be_in_order()
