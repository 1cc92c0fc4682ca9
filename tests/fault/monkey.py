"""The monkey: kills, freezes and restarts gateways, and takes their database away for a moment."""

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import psycopg

from tests.fault.evidence import Evidence
from tests.support import PATIENCE
from tests.support.gateway import Gateway
from tests.support.proxy import Proxy

_PEACE = 1.0
"""Seconds in which a gateway that has just started is not harmed again, so that something comes of it."""
_LATER = 1.5
"""Seconds in which the upstream has read what a gateway had sent before it died."""


class Workers(Gateway):
    """A gateway of several worker processes; what is killed or frozen is one of them."""

    def start(self, *arguments: str) -> None:
        """Start them all."""
        super().start("--workers", "3", *arguments)

    def workers(self) -> list[int]:
        """The processes that serve."""
        assert self.process is not None
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        children = [int(pid) for task in tasks for pid in task.read_text().split()]
        return [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


class Monkey:
    """Does one bad thing after the other, some at the same time; one gateway at least is left alone."""

    def __init__(
        self,
        gateways: list[Gateway],
        database_url: str,
        proxy: Proxy | None,
        evidence: Evidence,
        chance: random.Random,
        lease: float,
    ) -> None:
        self._alone = list(gateways)
        self._spared = len(gateways) // 3
        self._url = database_url
        self._proxy = proxy
        self._evidence = evidence
        self._chance = chance
        self._lease = lease

    async def run(self, until: asyncio.Event) -> None:
        """Go on until then, and leave everything as it should be."""
        async with asyncio.TaskGroup() as doing:
            doing.create_task(self._take_the_database_away(until))
            while not until.is_set():
                await asyncio.sleep(self._chance.uniform(0.1, 0.6))
                if len(self._alone) > self._spared:
                    gateway = self._alone.pop(self._chance.randrange(len(self._alone)))
                    doing.create_task(self._harm(gateway))

    async def _harm(self, gateway: Gateway) -> None:
        """Something bad for one gateway."""
        name = self._chance.choice(("kill", "kill", "freeze", "stop"))
        began = time.monotonic()
        if name == "stop":
            await asyncio.to_thread(gateway.stop)
        elif isinstance(gateway, Workers):
            await self._harm_worker(gateway, name)
        elif name == "freeze":
            gateway.signal(signal.SIGSTOP)
            await asyncio.sleep(self._lease * self._chance.uniform(1.1, 1.6))
            gateway.signal(signal.SIGCONT)
        else:
            gateway.kill()
        # A death is a moment; but what was sent just before it may be read a little later.
        self._note(name, began, began + _LATER if name == "kill" else time.monotonic())
        if gateway.process is None:
            await asyncio.sleep(self._chance.uniform(0, self._lease / 2))
            await _start(gateway)
            await asyncio.sleep(_PEACE)
        self._alone.append(gateway)

    async def _harm_worker(self, gateway: Workers, name: str) -> None:
        """The same for one of its workers; the master starts another where one has died."""
        if not (pids := gateway.workers()):
            return
        pid = self._chance.choice(pids)
        if name == "kill":
            os.kill(pid, signal.SIGKILL)
            return
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(self._lease * self._chance.uniform(1.1, 1.6))
        with contextlib.suppress(ProcessLookupError):  # its master may have replaced it
            os.kill(pid, signal.SIGCONT)

    async def _take_the_database_away(self, until: asyncio.Event) -> None:
        """For a moment, again and again."""
        while not until.is_set():
            await asyncio.sleep(self._chance.uniform(1, 6))
            began, seconds = time.monotonic(), self._chance.uniform(0.5, 2)
            if self._proxy is None:
                name = "lock"
                await asyncio.to_thread(_hold, self._url, seconds)
            elif self._chance.random() < 0.5:
                name = "disconnect"
                await asyncio.to_thread(_terminate, self._url)
            else:
                name = "outage"
                await self._proxy.cut()
                await asyncio.sleep(seconds)
                await self._proxy.restore()
            self._note(name, began, time.monotonic())

    def _note(self, name: str, began: float, ended: float) -> None:
        self._evidence.faults.append((name, began, ended))


async def _start(gateway: Gateway) -> None:
    """Start again; a gateway whose database is away at that moment does not start."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with contextlib.suppress(AssertionError):
            return await asyncio.to_thread(gateway.start)
        await asyncio.sleep(0.2)
    raise AssertionError(gateway.log()[-4000:])


def _terminate(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def _hold(url: str, seconds: float) -> None:
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None, timeout=10)
    try:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
    finally:
        connection.close()
