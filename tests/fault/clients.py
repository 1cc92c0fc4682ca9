"""Clients: they ask, follow, leave, come back to another replica, cancel, delete, and keep what they hear."""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

import aiohttp

from tests.fault.checker import RUNNING
from tests.fault.evidence import Evidence, Look, Plan, Reading, text_of

_PATH = "/v1beta/interactions"
_PATIENCE = aiohttp.ClientTimeout(sock_connect=2, sock_read=4)
_FAILED = (aiohttp.ClientError, TimeoutError, OSError)


def draw(chance: random.Random, tag: str, *, agents: bool) -> Plan:
    """Something that a client may want."""
    background = chance.random() < 0.5
    store = background or chance.random() < 0.9
    agent = agents and background and chance.random() < 0.4
    # What ends an interaction from outside is rare enough for most to meet the monkey first.
    cancels = background and chance.random() < 0.25
    return Plan(
        tag=tag,
        tokens=chance.randint(5, 120),
        delay_ms=chance.choice((5, 20, 40)),
        break_after=chance.randint(3, 30) if chance.random() < 0.08 else 0,
        agent=agent,
        stream=chance.random() < 0.6,
        background=background,
        store=store,
        continues=chance.random() < 0.25,
        followers=chance.choice((0, 0, 1, 2)),
        leaves=chance.random() < 0.6,
        cancel_after=chance.uniform(0, 2) if cancels else None,
        delete_after=chance.uniform(0, 2) if store and chance.random() < 0.08 else None,
    )


class Clients:
    """All clients of a campaign; `urls` are the replicas."""

    def __init__(self, urls: Sequence[str], key: str, evidence: Evidence, chance: random.Random) -> None:
        self._urls = urls
        self._evidence = evidence
        self._chance = chance
        self._ended: list[str] = []
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=5)
        self._http = aiohttp.ClientSession(
            connector=connector, headers={"x-goog-api-key": key}, timeout=_PATIENCE
        )

    async def close(self) -> None:
        """Leave."""
        await self._http.close()

    async def go(self, plan: Plan, seconds: float = 60) -> None:
        """Do what is planned; whoever has not heard the end by then gives up."""
        self._evidence.plans[plan.tag] = plan
        try:
            async with asyncio.timeout(seconds):
                await self._go(plan)
        except TimeoutError:
            self._evidence.refused.append(f"{plan.tag}: never heard its end")

    async def ask_everything(self, tag: str, name: str) -> None:
        """The interaction and its whole stream, when all is quiet."""
        for _ in range(100):
            if await self._look(tag, name) is not None:
                replay = Reading(tag)
                await self._get_events(name, replay, None)
                if replay.frames and replay.frames[-1].is_end:
                    self._evidence.replays.append(replay)
                    return
            await asyncio.sleep(0.2)
        self._evidence.refused.append(f"{tag}: cannot be read when all is quiet")

    async def _go(self, plan: Plan) -> None:
        known: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        others = [asyncio.create_task(self._follow(plan, await_id=known)) for _ in range(plan.followers)]
        if plan.cancel_after is not None:
            others.append(asyncio.create_task(self._cancel(plan, known, plan.cancel_after)))
        if plan.delete_after is not None:
            others.append(asyncio.create_task(self._delete(plan, known, plan.delete_after)))
        try:
            await self._create(plan, known)
            if known.done():
                await asyncio.gather(*others)
        finally:
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    async def _create(self, plan: Plan, known: "asyncio.Future[str]") -> None:
        parent = self._chance.choice(self._ended) if plan.continues and self._ended else None
        for _ in range(200):
            try:
                await self._ask(plan, parent, known)
            except aiohttp.ClientConnectorError:  # nobody is there, so nothing has been asked
                await asyncio.sleep(0.1)
            else:
                return
        self._evidence.refused.append(f"{plan.tag}: nobody is there")

    async def _ask(self, plan: Plan, parent: str | None, known: "asyncio.Future[str]") -> None:
        """Ask once: a request that was sent is never sent again."""
        reading = Reading(plan.tag)
        answered: dict[str, Any] | None = None
        try:
            async with self._http.post(self._any() + _PATH, json=plan.body(parent)) as response:
                if response.status != 200:
                    await self._refused(plan, parent, response)
                    return
                if plan.stream:
                    self._evidence.readings.append(reading)
                    await self._read(response, reading, self._leaves(plan), known)
                else:
                    answered = await response.json()
        except aiohttp.ClientConnectorError:
            raise
        except _FAILED as error:
            if not known.done():
                self._evidence.refused.append(f"{plan.tag}: {type(error).__name__}")
        if answered is not None:
            await self._answered(plan, answered, known)
        elif known.done() and plan.store:
            await self._until_end(plan, known.result(), reading)

    async def _answered(self, plan: Plan, told: dict[str, Any], known: "asyncio.Future[str]") -> None:
        over = told["status"] not in RUNNING
        text = text_of(told.get("steps") or []) if over else None
        self._evidence.looks.append(Look(plan.tag, told["status"], text))
        if not plan.store:
            return
        self._know(plan, told["id"], known)
        if over:
            await self._look(plan.tag, told["id"], after_end=True)
            self._note_end(plan, told["status"])
            return
        while (status := await self._look(plan.tag, told["id"])) is None or status in RUNNING:
            if plan.tag in self._evidence.deleted | self._evidence.maybe_deleted:
                return
            await asyncio.sleep(self._chance.uniform(0.1, 0.4))
        self._note_end(plan, status)

    async def _follow(self, plan: Plan, *, await_id: "asyncio.Future[str]") -> None:
        await self._until_end(plan, await asyncio.shield(await_id), Reading(plan.tag))

    async def _until_end(self, plan: Plan, name: str, last: Reading) -> None:
        """Read on where the last connection ended, at any replica, until the end is told."""
        while not last.ended:
            if plan.tag in self._evidence.deleted | self._evidence.maybe_deleted:
                return
            reading = Reading(plan.tag, last.last_id)
            self._evidence.readings.append(reading)
            await self._get_events(name, reading, self._leaves(plan))
            last = reading
            if not reading.ended:
                await asyncio.sleep(self._chance.uniform(0.02, 0.3))
        status = await self._look(plan.tag, name, after_end=True)
        if status is not None and status not in RUNNING:
            self._note_end(plan, status)

    async def _get_events(self, name: str, reading: Reading, leave_after: int | None) -> None:
        query = {"stream": "true"} | ({"last_event_id": reading.after} if reading.after else {})
        try:
            async with self._http.get(f"{self._any()}{_PATH}/{name}", params=query) as response:
                if response.status == 200:
                    await self._read(response, reading, leave_after, None)
                elif response.status == 404 or (response.status == 400 and reading.after):
                    self._evidence.refused.append(f"{reading.tag}: {response.status} after {reading.after}")
        except _FAILED:
            pass

    async def _read(
        self,
        response: aiohttp.ClientResponse,
        reading: Reading,
        leave_after: int | None,
        known: "asyncio.Future[str] | None",
    ) -> None:
        async for chunk in response.content.iter_any():
            reading.take(chunk)
            if known is not None and not known.done() and reading.frames and reading.frames[0].id:
                name = reading.frames[0].event.get("interaction", {}).get("id")
                if name:
                    self._know(self._evidence.plans[reading.tag], name, known)
            if leave_after is not None and len(reading.frames) >= leave_after:
                return

    async def _look(self, tag: str, name: str, *, after_end: bool = False, final: bool = False) -> str | None:
        """The status that a GET tells; None when it tells none."""
        try:
            async with self._http.get(f"{self._any()}{_PATH}/{name}") as response:
                if response.status != 200:
                    return None
                told = await response.json()
        except _FAILED:
            return None
        status = str(told["status"])
        text = text_of(told.get("steps") or []) if status not in RUNNING else None
        self._evidence.looks.append(Look(tag, status, text, after_end))
        return status

    async def _cancel(self, plan: Plan, known: "asyncio.Future[str]", wait: float) -> None:
        name = await asyncio.shield(known)
        await asyncio.sleep(wait)
        try:
            async with self._http.post(f"{self._any()}{_PATH}/{name}/cancel") as response:
                if response.status == 200:
                    self._evidence.cancelled.add(plan.tag)
        except _FAILED:
            pass

    async def _delete(self, plan: Plan, known: "asyncio.Future[str]", wait: float) -> None:
        name = await asyncio.shield(known)
        await asyncio.sleep(wait)
        self._evidence.maybe_deleted.add(plan.tag)
        try:
            async with self._http.delete(f"{self._any()}{_PATH}/{name}") as response:
                if response.status == 200:
                    self._evidence.deleted.add(plan.tag)
        except _FAILED:
            pass

    async def _refused(self, plan: Plan, parent: str | None, response: aiohttp.ClientResponse) -> None:
        said = await response.text()
        self._evidence.refused.append(f"{plan.tag}: {response.status} {said[:200]}")
        if parent is not None and response.status in (400, 404):
            self._evidence.broken_chains[plan.tag] = f"{response.status} {said[:200]}"
        await asyncio.sleep(1)  # whoever is refused comes back later, with something else

    def _know(self, plan: Plan, name: str, known: "asyncio.Future[str]") -> None:
        self._evidence.ids[plan.tag] = name
        if not known.done():
            known.set_result(name)

    def _note_end(self, plan: Plan, status: str) -> None:
        """What is completed, and stays, can be continued by others from now on."""
        if status == "completed" and plan.delete_after is None:
            self._ended.append(self._evidence.ids[plan.tag])

    def _leaves(self, plan: Plan) -> int | None:
        return self._chance.randint(1, 25) if plan.leaves and self._chance.random() < 0.7 else None

    def _any(self) -> str:
        return self._chance.choice(self._urls)


async def crowd(clients: Clients, plans: Sequence[Plan], at_once: int) -> float:
    """All these plans, so many at a time; how long it took."""
    began, waiting = time.monotonic(), iter(plans)

    async def one_after_the_other() -> None:
        for plan in waiting:
            await clients.go(plan)

    await asyncio.gather(*(one_after_the_other() for _ in range(at_once)))
    return time.monotonic() - began
