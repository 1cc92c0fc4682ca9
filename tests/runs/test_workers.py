"""Rows P12 and P13 of the fault list: several workers on one file, and a process without free descriptors."""

import asyncio
import contextlib
import os
import resource
import signal
import socket
from pathlib import Path

import pytest

from tests.conftest import GatewayFactory
from tests.support import PATIENCE
from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.runs import (
    QUICK,
    SAID,
    STREAM,
    asked_for,
    begin,
    cancel,
    ended,
    must_be_whole,
    slowly,
    until,
)
from tests.support.upstream import HANG, Pause, ScriptedUpstream, answer, sse

WORKERS = 3

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def children(gateway: Gateway) -> set[int]:
    """The worker processes that have the database open."""
    assert gateway.process is not None
    found = set()
    for task in Path(f"/proc/{gateway.process.pid}/task").iterdir():
        found |= set(map(int, (task / "children").read_text().split()))
    return {pid for pid in found if is_worker(pid)}


def descriptors(pid: int) -> int:
    """How many files and sockets a process has open."""
    return len([*Path(f"/proc/{pid}/fd").iterdir()])


def is_worker(pid: int) -> bool:
    """Python starts a process of its own beside them, which only tidies up."""
    with contextlib.suppress(OSError):
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


async def owner(gateway: Gateway, found: str) -> str:
    """Who has a run."""
    with Records(gateway.database_url) as records:
        return str(records.rows(f"SELECT owner FROM interactions WHERE id = '{found}'")[0][0])


async def test_p12_workers_on_one_file_are_one_gateway(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    gateway = await asyncio.to_thread(start_gateway, upstream.url, **QUICK, GATEWAY_RUNS__DRAIN="20")
    await asyncio.to_thread(gateway.stop)
    await asyncio.to_thread(gateway.start, "--workers", str(WORKERS))
    await until(lambda: len(children(gateway)) == WORKERS)
    upstream.script(Pause(0.5), *slowly(0.02))
    async with Client(gateway) as client:
        # A connection for each call, so that the calls meet all workers.
        client.http.headers["connection"] = "close"
        found = await asyncio.gather(*(begin(client, input=f"{n}") for n in range(12)))
        heard = await asyncio.gather(*(client.replay(each) for each in found * 2))
        for each, again in zip(heard[:12], heard[12:], strict=True):
            must_be_whole(each)
            assert each.body == again.body
        owners = {await owner(gateway, each) for each in found}
        while len(owners) == 1:  # who takes a connection is a matter of chance
            more = await asyncio.gather(*(begin(client, input="more") for _ in range(12)))
            owners |= {await owner(gateway, each) for each in more}

        upstream.rescript(STREAM + sse(*SAID[:4]), HANG)
        asked = len(upstream.requests)
        silent = [await begin(client, input=f"silent {n}") for n in range(4)]
        await asked_for(upstream, asked + 4)
        answers = await asyncio.gather(*(cancel(client, each) for each in silent * 3))
        assert {(each.status, each.json()["status"]) for each in answers} == {(200, "cancelled")}

        before, asked = children(gateway), len(upstream.requests)
        upstream.rescript(STREAM + sse(*SAID[:2]), HANG)
        upstream.script(*slowly(0))
        left = await begin(client, input="left")
        await asked_for(upstream, asked + 1)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        await until(lambda: len(children(gateway) - before) == WORKERS)
        with Records(gateway.database_url) as records:
            await until(lambda: records.count("interactions", f"id = '{left}' AND lease_until IS NULL"))
        assert (await ended(client, left))["status"] == "completed"

        upstream.rescript(Pause(1), answer({"status": "completed", "steps": []}))
        last = asyncio.ensure_future(client.create(input="last"))
        await asked_for(upstream, asked + 3)
        assert await asyncio.to_thread(gateway.stop) == 0
        assert (await last).status == 200
    with Records(gateway.database_url) as records:
        assert records.count("interactions", "status = 'in_progress'") == 0
        assert records.rows("PRAGMA integrity_check") == [("ok",)]
    assert "Traceback" not in gateway.log()


async def test_p13_without_free_descriptors_it_sheds_and_recovers(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    gateway = await asyncio.to_thread(start_gateway, upstream.url, **QUICK)
    assert gateway.process is not None
    pid = gateway.process.pid
    upstream.script(answer({"status": "completed", "steps": []}))
    async with Client(gateway) as client:
        kept = await client.create()
        in_use = descriptors(pid)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use + 8, in_use + 8))
        crowd = [socket.create_connection(("127.0.0.1", gateway.port), 5) for _ in range(40)]
        await until(lambda: descriptors(pid) >= in_use + 6)
        # The connection that there is goes on; what needs one more descriptor is told so.
        refused = await client.create(input="no connection to the upstream is to be had")
        assert refused.status in {200, 502, 503}, refused
        assert (await client.get(kept.id)).status == 200
        for each in crowd:
            each.close()
        await until(lambda: descriptors(pid) <= in_use + 4)
        async with asyncio.timeout(PATIENCE):
            while (await client.create(input="again")).status != 200:
                await asyncio.sleep(0.1)
    async with Client(gateway) as newcomer:
        assert (await newcomer.get(kept.id)).status == 200
    assert gateway.process.pid == pid
    with Records(gateway.database_url) as records:
        await until(lambda: not records.count("interactions", "status = 'in_progress'"))
    assert len(gateway.log()) < 200_000, "it fills the disk with its complaints"
    gateway.must_be_in_order()
