"""A campaign: a database, gateways, an upstream, clients and a monkey; then quiet, and the evidence."""

import asyncio
import contextlib
import json
import random
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.fault.clients import Clients, crowd, draw
from tests.fault.evidence import Evidence, Plan, calls_in, rows_in
from tests.fault.monkey import Monkey, Workers
from tests.support import PATIENCE
from tests.support.gateway import Gateway, clean_environment, free_port
from tests.support.proxy import Proxy
from tests.support.records import Records

LEASE = 3.0
_SETTINGS = {
    "GATEWAY_LOG_FORMAT": "json",
    "GATEWAY_RUNS__LEASE": str(LEASE),
    "GATEWAY_RUNS__HEARTBEAT": "1",
    "GATEWAY_RUNS__POLL": "0.2",
    "GATEWAY_RUNS__KEEP_ALIVE": "1",
    "GATEWAY_RUNS__DRAIN": "1",
    "GATEWAY_TIMEOUTS__IDLE": "10",
    "GATEWAY_TIMEOUTS__RUN": "40",
    "GATEWAY_TIMEOUTS__BACKGROUND": "40",
}
_QUIET = 120.0
"""Seconds in which everything must have ended: deadline, lease, poll, and a slow machine."""
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Campaign:
    """How much, and where; the same seed draws the same plans and faults, if not the same moments."""

    runs: int
    seed: int
    workers: bool = False
    agents: bool = True
    at_once: int = 12

    async def run(self, database_url: str, folder: Path) -> Evidence:
        """Everything that happened."""
        evidence, chance = Evidence(), random.Random(self.seed)
        plans = [draw(chance, f"run-{n}", agents=self.agents) for n in range(self.runs)]
        with upstream(folder) as (upstream_url, log):
            async with reachable(database_url) as (url, proxy):
                gateways = await asyncio.to_thread(self._gateways, url, folder, upstream_url)
                try:
                    urls, key = [gateway.url for gateway in gateways], gateways[0].key
                    clients = Clients(urls, key, evidence, random.Random(self.seed + 1))
                    monkey = Monkey(
                        gateways, database_url, proxy, evidence, random.Random(self.seed + 2), LEASE
                    )
                    await self._storm(clients, monkey, plans)
                    await self._quiet(clients, evidence, database_url)
                finally:
                    await clients.close()
                    for gateway in gateways:
                        await asyncio.to_thread(gateway.stop)
            evidence.calls = calls_in(log)
        return evidence

    def _gateways(self, url: str, folder: Path, upstream_url: str) -> list[Gateway]:
        kind, count = (Workers, 1) if self.workers else (Gateway, 3)
        where = [{"name": "counting", "kind": "interactions", "base_url": upstream_url, "api_keys": ["k"]}]
        settings = _SETTINGS | {"GATEWAY_UPSTREAMS": json.dumps(where)}
        return [kind(folder, url, **settings) for _ in range(count)]

    async def _storm(self, clients: Clients, monkey: Monkey, plans: list[Plan]) -> None:
        over = asyncio.Event()
        async with asyncio.TaskGroup() as both:
            both.create_task(monkey.run(over))
            await crowd(clients, plans, self.at_once)
            over.set()

    async def _quiet(self, clients: Clients, evidence: Evidence, database_url: str) -> None:
        """Wait until nothing runs, then ask for everything once more."""
        with Records(database_url) as records:
            deadline = time.monotonic() + _QUIET
            while records.count("interactions", "status IN ('queued', 'in_progress')"):
                if time.monotonic() > deadline:
                    break
                await asyncio.sleep(0.2)
            stored = [row for row in rows_in(records) if row.store]
            for some in range(0, len(stored), 8):
                some_rows = stored[some : some + 8]
                await asyncio.gather(*(clients.ask_everything(row.tag, row.id) for row in some_rows))
            evidence.rows = rows_in(records)


@contextmanager
def upstream(folder: Path) -> Iterator[tuple[str, Path]]:
    """The counting upstream as a process; where it is, and what it writes down."""
    port, log = free_port(), folder / "upstream.jsonl"
    log.touch()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fault.upstream", str(port), str(log)],
        cwd=_ROOT,
        env=clean_environment(),
    )
    try:
        _listening(process, port)
        yield f"http://127.0.0.1:{port}", log
    finally:
        process.kill()
        process.wait()


def _listening(process: "subprocess.Popen[bytes]", port: int) -> None:
    """Wait until a process answers there."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), PATIENCE):
            return
        assert process.poll() is None, "the upstream did not start"
        assert time.monotonic() < deadline, "the upstream does not listen"
        time.sleep(0.05)


@asynccontextmanager
async def reachable(database_url: str) -> AsyncIterator[tuple[str, Proxy | None]]:
    """The database by a way that can be cut, where it is a server."""
    if database_url.startswith("sqlite"):
        yield database_url, None
        return
    async with Proxy(database_url) as proxy:
        yield proxy.url, proxy
