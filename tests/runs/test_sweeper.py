"""The sweeper: everything that is due is done, once, by one process, whatever dies or fails."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from sqlalchemy import text

from app.core.events import Event
from app.core.model import Kept, Request, Turn
from app.core.versions import Versions
from app.errors import ApiError
from app.runs.forgetting import Forgetting
from app.runs.sweeper import SWEEP, Sweeper
from app.settings import Retention as RetentionSettings
from app.store.database import Database
from app.store.leases import Leases
from app.store.leftovers import Leftovers
from app.store.retention import Retention
from app.store.schema import (
    idempotency_keys,
    interaction_events,
    leases,
    upstream_leftovers,
    upstream_resources,
)
from app.upstream.credentials import Credentials
from app.upstream.forward import Forwarder, Forwarders
from app.upstream.peer import HttpPeer
from tests.support.aged import HOUR, PROJECT, Aged, aged, ago, chain
from tests.support.upstream import ScriptedUpstream, answer

LONG = 60_000


class Provider:
    """What keeps interactions behind an adapter; `says` decides what deleting one meets."""

    name = "there"

    def __init__(self) -> None:
        self.forgotten: list[Kept] = []
        self.says: Callable[[Kept], Awaitable[None]] = self.agree

    async def forget(self, kept: Kept) -> None:
        self.forgotten.append(kept)
        await self.says(kept)

    async def agree(self, kept: Kept) -> None:
        pass

    def run(self, turn: Turn) -> AsyncGenerator[Event, None]:
        raise NotImplementedError

    def keeps(self, request: Request) -> bool:
        raise NotImplementedError

    async def cancel(self, kept: Kept) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError


@pytest.fixture
async def past(database: Database) -> Aged:
    return await Aged(database).begin()


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def keys() -> Credentials:
    return Credentials("there", ["key one", "key two"], Versions(b"secret"))


@pytest.fixture
async def forwarders(upstream: ScriptedUpstream, keys: Credentials) -> AsyncIterator[Forwarders]:
    """The scriptable upstream as the place that files are at."""
    async with aiohttp.ClientSession() as session:
        yield Forwarders([Forwarder("there", ["*"], keys, HttpPeer(session, upstream.url))])


@pytest.fixture
def sweeper(past: Aged, provider: Provider, forwarders: Forwarders) -> Sweeper:
    return sweeper_of(past.database, provider, forwarders, "one")


def sweeper_of(
    database: Database, provider: Provider, forwarders: Forwarders, owner: str, every: float = 0.01
) -> Sweeper:
    return Sweeper(
        Retention(database, "conversation", HOUR),
        Leases(database),
        [Forgetting(Leftovers(database), {"there": provider}, forwarders).some],
        owner,
        RetentionSettings(sweep_seconds=every),
    )


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    """Wait for what the loop will do some time."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.01)


async def test_a_sweep_does_all_that_is_due(past: Aged, sweeper: Sweeper, provider: Provider):
    await past.add(*chain(1100), events=2)
    await past.add(aged("v1_kept", expired=False), aged("v1_agent", upstream_id="up_1", credential="c"))
    await past.spend(600)
    assert await sweeper.sweep()
    assert await past.left() == {"v1_kept"}
    assert await past.count(interaction_events) == 0
    assert await past.count(idempotency_keys) == 1
    assert provider.forgotten == [Kept("up_1", affinity="c")]
    assert await past.count(upstream_leftovers) == 0
    [lease] = await Leases(past.database).all()
    assert (lease.name, lease.owner) == (SWEEP, "one")
    assert lease.done_ms_ago is not None
    assert await sweeper.sweep()


async def test_p12_of_two_sweepers_one_sweeps(past: Aged, sweeper, provider, forwarders, database_url):
    await past.add(*(row for n in range(30) for row in chain(100, f"c{n}")))
    other = Database(database_url)
    second = sweeper_of(other, provider, forwarders, "two")
    try:
        swept = await asyncio.gather(sweeper.sweep(), second.sweep())
    finally:
        await other.close()
    assert sorted(swept) == [False, True]
    assert await past.left() == set()


async def test_p1_a_sweep_that_died_in_the_middle_is_taken_up(past: Aged, sweeper: Sweeper, provider):
    """Another process holds the lease, has erased the leaves of some chains, and is gone."""
    await past.add(*chain(700), events=1)
    dead = Leases(past.database)
    assert await dead.take(SWEEP, "dead", LONG)
    await Retention(past.database, "conversation", HOUR).erase(["v1_link_000699"])
    assert not await sweeper.sweep()
    assert len(await past.left()) == 200
    assert await dead.take(SWEEP, "dead", 1)
    await until(sweeper.sweep)
    assert await past.left() == set()
    assert await past.count(interaction_events) == 0


async def test_p4_who_lost_the_lease_stops(past: Aged, sweeper: Sweeper, provider: Provider):
    """In the middle of its work another process takes over, whose lease it leaves alone."""
    stolen = f"UPDATE leases SET owner = 'thief', lease_until = {ago(-HOUR)}"
    await past.add(aged("v1_agent", upstream_id="up_1"))

    async def steal(_kept: Kept) -> None:
        await execute(past.database, stolen)

    provider.says = steal
    assert not await sweeper.sweep()
    [row] = await past.rows(leases)
    assert (row.owner, row.done_at) == ("thief", None)


async def test_the_loop_sweeps_again_and_again(past: Aged, sweeper: Sweeper):
    loop = asyncio.create_task(sweeper.run())
    try:
        for turn in range(5):
            await past.add(*chain(3, f"turn{turn}"), events=1)

            async def gone() -> bool:
                return not await past.left()

            await until(gone)
    finally:
        loop.cancel()


async def test_what_fails_is_logged_and_the_rest_goes_on(past: Aged, sweeper: Sweeper, caplog):
    await past.add(aged("v1_old"), events=1)
    await past.spend(3)
    await execute(past.database, "ALTER TABLE webhook_deliveries RENAME TO elsewhere")
    loop = asyncio.create_task(sweeper.run())

    async def purged() -> bool:
        return await past.count(idempotency_keys) == 1

    async def erased() -> bool:
        return not await past.left()

    try:
        await until(purged)
        assert await past.left() == {"v1_old"}
        assert await past.count(interaction_events) == 0
        assert "a part of the sweep failed" in caplog.text
        await execute(past.database, "ALTER TABLE elsewhere RENAME TO webhook_deliveries")
        await until(erased)
    finally:
        loop.cancel()


async def test_what_expires_later_is_found_without_looking_at_everything_again(past: Aged, sweeper: Sweeper):
    held = aged("v1_held", expires_at=ago(2 * HOUR))
    await past.add(held, aged("v1_holder", "v1_held", expired=False))
    await sweeper.sweep()
    await past.add(aged("v1_new", expires_at=ago(HOUR)))
    await sweeper.sweep()
    assert await past.left() == {"v1_held", "v1_holder"}
    await execute(past.database, "DELETE FROM interactions WHERE id = 'v1_holder'")
    sweeps = 0
    while await past.left():
        sweeps += 1
        assert await sweeper.sweep()
        assert sweeps <= 60
    assert sweeps > 1


# What upstreams keep


async def test_files_are_deleted_with_the_key_that_made_them(past, sweeper, upstream, keys):
    upstream.script(answer({}))
    for name, key in (("files/a", "key one"), ("environments/b", "key two")):
        fingerprint = next(each.fingerprint for each in (keys.any() for _ in range(2)) if each.key == key)
        place = {"upstream": "there", "credential": fingerprint, "project_id": PROJECT, "created_at": 1}
        await past.put(upstream_resources, {"name": name, "kind": "k", "interaction_id": "v1_old", **place})
    await past.add(aged("v1_old"))
    assert await sweeper.sweep()
    asked = {(each.line, each.headers["x-goog-api-key"]) for each in upstream.requests}
    assert asked == {
        ("DELETE /v1beta/files/a HTTP/1.1", "key one"),
        ("DELETE /v1beta/environments/b HTTP/1.1", "key two"),
    }
    assert await past.count(upstream_leftovers) == 0


@pytest.mark.parametrize("status", ["404 Not Found", "403 Forbidden"])
async def test_what_is_gone_upstream_is_gone(past, sweeper, upstream, status):
    upstream.script(answer({"error": {"code": 404, "message": "no", "status": "NOT_FOUND"}}, status))
    await left(past, name="files/a")
    assert await sweeper.sweep()
    assert await past.count(upstream_leftovers) == 0


async def test_what_cannot_be_deleted_is_tried_again(past, sweeper, provider, upstream):
    upstream.script(answer({"error": {"code": 503, "message": "no"}}, "503 Service Unavailable"))
    upstream.script(answer({}))

    async def refuse(_kept: Kept) -> None:
        raise ApiError("no", status=503, code="service_unavailable")

    provider.says = refuse
    await left(past, name="files/a")
    await left(past, name="interactions/b")
    await left(past, name="files/c", upstream="removed")
    await sweeper.sweep()
    await sweeper.sweep()  # it is not due yet
    rows = await past.rows(upstream_leftovers)
    assert sorted((row.name, row.attempts) for row in rows) == [
        ("files/a", 1),
        ("files/c", 1),
        ("interactions/b", 1),
    ]
    provider.says = provider.agree
    await execute(past.database, "UPDATE upstream_leftovers SET due_at = 0")
    await sweeper.sweep()
    assert [row.name for row in await past.rows(upstream_leftovers)] == ["files/c"]


async def test_after_a_month_it_is_given_up_and_told(past, sweeper, caplog):
    await left(past, name="interactions/b", upstream="removed", created_at=ago(31 * 24 * HOUR))
    await sweeper.sweep()
    assert await past.count(upstream_leftovers) == 0
    assert "gave up deleting what an upstream keeps" in caplog.text


async def test_a_fault_with_one_leaves_the_others(past, sweeper, provider):
    async def fail(kept: Kept) -> None:
        if kept.id == "bad":
            raise RuntimeError("nobody foresaw")

    provider.says = fail
    for name in ("good1", "bad", "good2"):
        await left(past, name=f"interactions/{name}")
    assert await sweeper.sweep()
    assert [row.name for row in await past.rows(upstream_leftovers)] == ["interactions/bad"]


async def left(past: Aged, **fields: Any) -> None:
    """Something that an upstream still keeps."""
    usual = {"upstream": "there", "credential": None, "created_at": ago(HOUR), "due_at": 0, "attempts": 0}
    await past.put(upstream_leftovers, {"id": f"left {fields}", **usual, **fields})


async def execute(database: Database, statement: str) -> None:
    def run(connection, batch):
        return [connection.execute(text(one)) and None for one in batch]

    await database.write(run, statement)
