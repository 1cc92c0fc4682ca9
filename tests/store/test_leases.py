"""Leases: one owner at a time, and nobody for ever."""

import asyncio

import pytest

from app.store.database import Database
from app.store.leases import Leases

LONG = 60_000


@pytest.fixture
def leases(database: Database) -> Leases:
    return Leases(database)


async def test_one_has_it_and_the_others_wait(leases: Leases):
    assert await leases.take("sweep", "one", LONG)
    assert not await leases.take("sweep", "two", LONG)
    assert await leases.take("sweep", "one", LONG)
    assert await leases.take("other", "two", LONG)
    assert not await leases.take("sweep", "two", LONG)


async def test_what_is_done_is_free_and_dated(leases: Leases):
    assert await leases.all() == []
    assert await leases.take("sweep", "one", LONG)
    [lease] = await leases.all()
    assert (lease.name, lease.owner, lease.done_ms_ago) == ("sweep", "one", None)
    await leases.done("sweep", "one")
    [lease] = await leases.all()
    assert lease.done_ms_ago is not None
    assert 0 <= lease.done_ms_ago < LONG
    assert await leases.take("sweep", "two", LONG)
    assert not await leases.take("sweep", "one", LONG)


async def test_a_lease_lapses_with_its_owner(leases: Leases):
    assert await leases.take("sweep", "dead", 1)
    while not await leases.take("sweep", "next", LONG):
        await asyncio.sleep(0.001)
    assert not await leases.take("sweep", "dead", LONG)


async def test_only_the_owner_can_be_done(leases: Leases):
    assert await leases.take("sweep", "one", LONG)
    await leases.done("sweep", "two")
    assert not await leases.take("sweep", "two", LONG)
    assert [lease.done_ms_ago for lease in await leases.all()] == [None]


@pytest.mark.parametrize("lapsed", [False, True])
async def test_p12_of_many_at_the_same_instant_one_wins(database: Database, database_url: str, lapsed):
    others = [Database(database_url) for _ in range(3)]
    everybody = [Leases(each) for each in (database, *others)]
    try:
        for n in range(20):
            if lapsed:
                assert await everybody[0].take(f"job {n}", "dead", -1)
            taken = await asyncio.gather(
                *(leases.take(f"job {n}", f"owner {m}", LONG) for m, leases in enumerate(everybody))
            )
            assert sorted(taken) == [False, False, False, True]
    finally:
        for each in others:
            await each.close()
