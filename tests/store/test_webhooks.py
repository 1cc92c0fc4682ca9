"""Deliveries as rows: taken by one at a time, for a while, until they are done."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import Connection, delete

from app.store.database import Database
from app.store.schema import projects
from app.store.webhooks import Attempt, Delivery, Webhooks, erase_deliveries, insert_deliveries
from tests.store.conftest import HOUR, MINE, THEIRS, Store

URL = "https://hooks.example.com/"


def delivery(number: int, project: str = MINE, url: str = URL) -> Delivery:
    return Delivery(
        f"msg_{number:03}", project, f"v1_interaction_{number}", url, b'{"\\u0000":"\xf0\x9f\x8d\x8b"}'
    )


async def keep(database: Database, *deliveries: Delivery) -> None:
    def end(connection: Connection, batch: Sequence[tuple[Delivery, ...]]) -> Sequence[None]:
        for each in batch:
            insert_deliveries(connection, each)
        return [None] * len(batch)

    await database.write(end, deliveries)


def numbers(attempts: list[Attempt]) -> list[str]:
    return sorted(each.delivery.id for each in attempts)


async def test_a_delivery_is_due_at_once_and_comes_back_as_it_was(store: Store):
    await keep(store.database, delivery(1))
    [taken] = await Webhooks(store.database).take(10, HOUR)
    assert taken.delivery == delivery(1)
    assert taken.number == 1
    assert 0 <= taken.age_ms < 60_000


async def test_no_deliveries_are_nothing_to_keep(store: Store):
    await keep(store.database)
    assert await Webhooks(store.database).take(10, HOUR) == []


async def test_what_is_taken_is_nobody_elses_until_its_lease_runs_out(store: Store):
    webhooks = Webhooks(store.database)
    await keep(store.database, delivery(1))
    [first] = await webhooks.take(10, 1500)
    assert await webhooks.take(10, HOUR) == []
    await asyncio.sleep(1.6)
    [second] = await webhooks.take(10, HOUR)
    assert (first.number, second.number) == (1, 2)
    assert first.delivery == second.delivery
    assert second.age_ms >= 1500


async def test_what_is_done_is_gone(store: Store):
    webhooks = Webhooks(store.database)
    await keep(store.database, delivery(1), delivery(2))
    await webhooks.take(1, 0)
    await webhooks.done("msg_001")
    await webhooks.done("msg_unknown")
    assert numbers(await webhooks.take(10, 0)) == ["msg_002"]


async def test_a_failed_attempt_is_followed_by_another_after_a_pause(store: Store):
    webhooks = Webhooks(store.database)
    await keep(store.database, delivery(1))
    [first] = await webhooks.take(1, HOUR)
    await webhooks.later(first, HOUR)
    assert await webhooks.take(1, HOUR) == []
    await webhooks.later(first, 0)
    [second] = await webhooks.take(1, HOUR)
    assert second.number == 2


async def test_who_has_lost_a_delivery_does_not_put_it_off(store: Store):
    webhooks = Webhooks(store.database)
    await keep(store.database, delivery(1))
    [lost] = await webhooks.take(1, 0)
    [mine] = await webhooks.take(1, HOUR)
    await webhooks.later(lost, 0)
    assert await webhooks.take(1, HOUR) == []
    await webhooks.later(mine, 0)
    assert len(await webhooks.take(1, HOUR)) == 1


async def test_a_few_are_taken_the_longest_due_first(store: Store):
    webhooks = Webhooks(store.database)
    await keep(store.database, *map(delivery, range(5)))
    pauses = {"msg_000": -3000, "msg_001": -1000, "msg_002": -5000, "msg_003": -2000, "msg_004": -4000}
    for attempt in await webhooks.take(5, HOUR):
        await webhooks.later(attempt, pauses[attempt.delivery.id])
    order = [numbers(await webhooks.take(2, HOUR)) for _ in range(4)]
    assert order == [["msg_002", "msg_004"], ["msg_000", "msg_003"], ["msg_001"], []]


async def test_busy_receivers_and_projects_are_left_out(store: Store):
    webhooks = Webhooks(store.database)
    other = "https://other.example.com/"
    await keep(store.database, delivery(1), delivery(2, url=other), delivery(3, THEIRS))
    assert numbers(await webhooks.take(9, 0, [URL])) == ["msg_002"]
    assert numbers(await webhooks.take(9, 0, [], [MINE])) == ["msg_003"]
    assert numbers(await webhooks.take(9, 0, [other], [THEIRS])) == ["msg_001"]
    assert numbers(await webhooks.take(9, 0)) == ["msg_001", "msg_002", "msg_003"]


async def test_two_processes_never_take_the_same(store: Store, database_url: str):
    other = Database(database_url)
    await keep(store.database, *map(delivery, range(100)))
    takers = [Webhooks(database) for database in (store.database, other, store.database, other)]
    taken = await asyncio.gather(*(taker.take(7, HOUR) for taker in takers * 5))
    await other.close()
    assert max(map(len, taken)) <= 7
    found = numbers([attempt for each in taken for attempt in each])
    assert len(found) == len({*found})
    left = numbers(await Webhooks(store.database).take(100, HOUR))
    assert sorted(found + left) == [f"msg_{number:03}" for number in range(100)]


async def test_they_are_kept_only_with_the_transaction(store: Store):
    def fails(connection: Connection, batch: Sequence[Delivery]) -> Sequence[None]:
        insert_deliveries(connection, batch)
        raise ValueError("after all")

    with pytest.raises(ValueError, match="after all"):
        await store.database.write(fails, delivery(1))
    assert await Webhooks(store.database).take(1, HOUR) == []


async def test_the_deliveries_of_a_deleted_project_go_with_it(store: Store):
    def drop(connection: Connection, batch: Sequence[str]) -> Sequence[None]:
        connection.execute(delete(projects).where(projects.c.id.in_(batch)))
        return [None] * len(batch)

    await keep(store.database, delivery(1), delivery(2, THEIRS))
    await store.database.write(drop, MINE)
    assert numbers(await Webhooks(store.database).take(9, HOUR)) == ["msg_002"]


async def test_the_deliveries_of_erased_interactions_go_with_them(store: Store):
    def erase(connection: Connection, batch: Sequence[list[str]]) -> Sequence[None]:
        for each in batch:
            erase_deliveries(connection, each)
        return [None] * len(batch)

    await keep(store.database, *map(delivery, range(3)))
    await store.database.write(erase, [])
    await store.database.write(erase, ["v1_interaction_0", "v1_interaction_2", "v1_unknown"])
    assert numbers(await Webhooks(store.database).take(9, HOUR)) == ["msg_001"]
