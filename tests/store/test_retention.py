"""Retention: what has expired goes, what is in use stays, and nothing is left over."""

import asyncio
import random
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import select, text

from app.core.chain import MissingLink, history
from app.errors import Unavailable
from app.store.database import Database
from app.store.erasure import START
from app.store.interactions import Interactions
from app.store.leftovers import Leftover, Leftovers, leave
from app.store.retention import Clock, Retention
from app.store.schema import (
    idempotency_keys,
    interaction_events,
    interaction_labels,
    interactions,
    upload_sessions,
    upstream_leftovers,
    upstream_resources,
    webhook_deliveries,
)
from tests.support.aged import DAY, HOUR, PROJECT, Aged, aged, ago, chain


@pytest.fixture
async def past(database: Database) -> Aged:
    return await Aged(database).begin()


def retention(past: Aged, clock: Clock = "conversation") -> Retention:
    return Retention(past.database, clock, HOUR)


async def sweep(past: Aged, clock: Clock = "conversation") -> int:
    """Erase everything that is to be erased; in how many transactions."""
    steps, position, writes = retention(past, clock), START, 0
    while (found := await steps.expired(position)) is not None:
        assert found.last > position
        position, ids = found.last, found.free
        while ids:
            writes, ids = writes + 1, (await steps.erase(ids)).left
    return writes


# What is erased


async def test_an_expired_conversation_goes_as_a_whole_and_in_few_transactions(past: Aged):
    await past.add(*chain(1000), *chain(3, "alive", expires_at=ago(-DAY)), events=1)
    assert await sweep(past) <= 5
    assert await past.left() == {"v1_alive_000000", "v1_alive_000001", "v1_alive_000002"}
    for table in (interaction_events, interaction_labels):
        assert await past.count(table) == 3


@pytest.mark.parametrize("expiry", [lambda n: ago(DAY) + n, lambda n: ago(DAY) - n, lambda _: ago(DAY)])
async def test_many_conversations_go_in_any_order_of_expiry(past: Aged, expiry):
    for each in range(60):
        await past.add(*(row | {"expires_at": expiry(n)} for n, row in enumerate(chain(20, f"c{each}"))))
    assert await sweep(past) < 60
    assert await past.left() == set()


async def test_d2_a_chain_in_use_keeps_its_context(past: Aged):
    links = chain(30)
    await past.add(*links[:-1], links[-1] | {"expires_at": ago(-DAY)})
    assert await sweep(past) == 0
    found = await Interactions(past.database).chain(PROJECT, links[-1]["id"])
    assert [link.id for link in found] == [link["id"] for link in links]
    assert await Interactions(past.database).get(PROJECT, links[-2]["id"]) is None


async def test_d2_by_the_clock_of_the_interaction_each_goes_on_its_day_and_the_gap_is_loud(past: Aged):
    root, middle, leaf = chain(3)
    await past.add(root | {"expires_at": ago(-DAY)}, middle, leaf | {"expires_at": ago(-DAY)})
    await sweep(past, "interaction")
    assert await past.left() == {root["id"], leaf["id"]}
    with pytest.raises(MissingLink, match=middle["id"]):
        history(await Interactions(past.database).chain(PROJECT, leaf["id"]))


async def test_d1_a_child_that_runs_keeps_its_expired_ancestors_and_one_that_was_deleted_does_not(past: Aged):
    links = chain(4)
    running = aged("v1_running", links[-1]["id"], status="in_progress", lease_until=ago(-HOUR))
    await past.add(*links, running)
    await sweep(past)
    assert len(await past.left()) == 5
    assert await Interactions(past.database).delete(PROJECT, "v1_running") is False  # expired, so hidden
    await past.add(aged("v1_other", links[1]["id"], expired=False))
    assert await Interactions(past.database).delete(PROJECT, "v1_other")
    await sweep(past)
    assert len(await past.left()) == 5


@pytest.mark.parametrize("seed", range(8))
async def test_exactly_what_nothing_alive_continues_is_erased(past: Aged, seed):
    """Random forests with branches, runs and unstored rows, against the definition."""
    dice = random.Random(seed)
    rows: dict[str, dict[str, Any]] = {}
    for n in range(300):
        parent = dice.choice([None, *list(rows)[-12:]])
        state = dice.choices(["completed", "failed", "in_progress", "queued"], [70, 20, 3, 3])[0]
        alive = dice.random() < 0.06
        row = aged(f"v1_node_{n:04}", parent, status=state, store=dice.random() < 0.9)
        rows[row["id"]] = row | {"expires_at": ago(-DAY) if alive else ago(DAY) + dice.randrange(HOUR)}
    await past.add(*rows.values())
    expected: set[str] = set()
    for one, row in reversed(rows.items()):  # children come after their parents
        children = [child["id"] for child in rows.values() if child["parent_id"] == one and child["store"]]
        over = row["expires_at"] < ago(0) and row["status"] in ("completed", "failed")
        if not over or set(children) - expected:
            continue
        expected.add(one)
    await sweep(past)
    assert await past.left() == rows.keys() - expected
    assert expected


async def test_a_root_goes_after_the_last_of_thousands_of_children(past: Aged):
    children = [aged(f"v1_child_{n:06}", "v1_root", expires_at=ago(DAY) + n) for n in range(2000)]
    alive = aged("v1_alive", "v1_root", expired=False)
    await past.add(aged("v1_root", expires_at=ago(2 * DAY)), *children, alive)
    await sweep(past)
    assert await past.left() == {"v1_root", "v1_alive"}
    assert await Interactions(past.database).delete(PROJECT, "v1_alive")
    await sweep(past)
    assert await past.left() == set()


async def test_what_has_only_just_expired_may_still_get_a_child(past: Aged):
    await past.add(aged("v1_just_now", expires_at=ago(1000)))
    assert await Interactions(past.database).parent(PROJECT, "v1_just_now") is None
    await sweep(past)
    assert await past.left() == {"v1_just_now"}


async def test_records_of_what_was_not_stored_expire_and_hold_nothing(past: Aged):
    record: dict[str, Any] = {"store": False, "input": None, "output": None, "options": None}
    await past.add(aged("v1_parent"), aged("v1_record", "v1_parent", expired=False, **record))
    await past.add(aged("v1_old_record", **record))
    await sweep(past)
    assert await past.left() == {"v1_record"}


@pytest.mark.parametrize("clock", ["conversation", "interaction"])
async def test_what_runs_is_never_touched(past: Aged, clock):
    running = [
        aged("v1_running", status="in_progress", lease_until=ago(-HOUR)),
        aged("v1_lapsed", status="in_progress", lease_until=ago(DAY)),
        aged("v1_released", status="in_progress", lease_until=None),
        aged("v1_queued", status="queued", lease_until=None),
    ]
    await past.add(*running, events=2)
    await sweep(past, clock)
    assert not await retention(past, clock).compact()
    assert await past.left() == {row["id"] for row in running}
    assert await past.count(interaction_events) == 8


async def test_a_batch_has_bounded_bytes(past: Aged):
    megabytes = b"x" * (20 << 20)
    await past.add(*chain(3, input=megabytes, last_seq=0))
    steps = retention(past)
    found = await steps.expired(START)
    assert found is not None
    first = await steps.erase(found.free)
    assert first.count == 2
    assert await past.left() == {"v1_link_000000"}
    assert (await steps.erase(first.left)).count == 1


async def test_held_rows_are_passed_over_once(past: Aged):
    """Thousands that living descendants hold do not keep what comes after them from being found."""
    held = [aged(f"v1_held_{n:06}", expires_at=ago(2 * DAY) + n) for n in range(1200)]
    holders = [aged(f"v1_holder_{n:06}", f"v1_held_{n:06}", expired=False) for n in range(1200)]
    await past.add(*held, *holders, aged("v1_free"))
    free: list[str] = []
    steps, position, pages = retention(past), START, 0
    while (found := await steps.expired(position)) is not None:
        position, free, pages = found.last, free + found.free, pages + 1
    assert (free, pages) == (["v1_free"], 3)
    assert await steps.expired(position) is None


async def test_erasing_twice_and_what_is_not_there_changes_nothing(past: Aged):
    await past.add(aged("v1_one"), aged("v1_alive", expired=False))
    steps = retention(past)
    assert (await steps.erase(["v1_one", "v1_alive", "v1_absent"])).count == 1
    again = await steps.erase(["v1_one", "v1_alive", "v1_absent"])
    assert (again.count, again.left) == (0, [])
    assert await past.left() == {"v1_alive"}


# What upstreams keep


async def test_what_upstreams_keep_is_left_to_be_deleted(past: Aged):
    made = {"project_id": PROJECT, "upstream": "there", "credential": "c1", "created_at": 1}
    await past.put(
        upstream_resources,
        {**made, "name": "files/mine", "kind": "files", "interaction_id": "v1_link_000001"},
        {**made, "name": "environments/e", "kind": "environments", "interaction_id": "v1_link_000000"},
        {**made, "name": "files/kept", "kind": "files", "interaction_id": "v1_alive"},
        {**made, "name": "files/nobodys", "kind": "files", "interaction_id": None},
    )
    first, second = chain(2, upstream_id="up_1", credential="c2")
    await past.add(first | {"upstream_id": None}, second, aged("v1_alive", expired=False, upstream_id="up_2"))
    await sweep(past)
    left = {(row.upstream, row.credential, row.name) for row in await past.rows(upstream_leftovers)}
    assert left == {
        ("there", "c2", "interactions/up_1"),
        ("there", "c1", "files/mine"),
        ("there", "c1", "environments/e"),
    }
    assert {row.name for row in await past.rows(upstream_resources)} == {"files/kept", "files/nobodys"}


async def test_what_was_still_to_be_told_of_it_is_told_to_nobody(past: Aged):
    await past.add(aged("v1_gone"), aged("v1_alive", expired=False))
    same = {
        "project_id": PROJECT,
        "url": "http://h",
        "body": b"",
        "created_at": 1,
        "due_at": 1,
        "attempts": 0,
    }
    for one in ("v1_gone", "v1_alive"):
        await past.put(webhook_deliveries, {"id": f"for {one}", "interaction_id": one, "attempts": 0, **same})
    await sweep(past)
    assert [row.interaction_id for row in await past.rows(webhook_deliveries)] == ["v1_alive"]


async def test_nothing_is_erased_without_its_leftovers(past: Aged):
    await past.add(aged("v1_one", upstream_id="up_1"))
    await execute(past.database, "ALTER TABLE upstream_leftovers RENAME TO elsewhere")
    with pytest.raises(Unavailable):
        await retention(past).erase(["v1_one"])
    assert await past.left() == {"v1_one"}


async def test_leftovers_come_again_later_each_time_until_they_are_done(past: Aged):
    await left_behind(past.database, Leftover("a", "c", "files/1"), Leftover("b", None, "interactions/2"))
    leftovers = Leftovers(past.database)
    taken = await leftovers.take()
    assert {(due.upstream, due.credential, due.name, due.last) for due in taken} == {
        ("a", "c", "files/1", False),
        ("b", None, "interactions/2", False),
    }
    assert await leftovers.take() == []
    for attempt, minutes in ((1, 1), (2, 4), (3, 9)):
        for row in await past.rows(upstream_leftovers):
            assert row.attempts == attempt
            assert abs(row.due_at - ago(0) - minutes * 60_000) < 20_000
        await execute(past.database, "UPDATE upstream_leftovers SET due_at = 0")
        assert len(await leftovers.take()) == 2
    await execute(past.database, "UPDATE upstream_leftovers SET due_at = 0, created_at = 0")
    assert [due.last for due in await leftovers.take()] == [True, True]
    for due in taken:
        await leftovers.done(due)
    assert await past.count(upstream_leftovers) == 0


async def test_leftovers_are_handed_out_once(past: Aged, database_url):
    await left_behind(past.database, *(Leftover("a", "c", f"files/{n}") for n in range(100)))
    other = Database(database_url)
    both = Leftovers(past.database), Leftovers(other)
    try:
        taken = await asyncio.gather(*(both[n % 2].take() for n in range(20)))
    finally:
        await other.close()
    names = [due.name for some in taken for due in some]
    assert len(names) == len(set(names)) == 100


# Logs and what is spent


async def test_old_logs_are_dropped_and_the_interaction_stays(past: Aged):
    await past.add(*chain(700, expires_at=ago(-DAY), input=b"[1]"), events=3)
    recent = aged("v1_recent", expired=False, updated_at=ago(HOUR // 2))
    await past.add(recent, events=3)
    steps, batches = retention(past), 0
    while await steps.compact():
        batches += 1
    assert batches == 2
    assert {row.interaction_id for row in await past.rows(interaction_events)} == {"v1_recent"}
    for row in await past.rows(interactions):
        assert (row.last_seq == 0) is (row.id != "v1_recent")
        assert row.status == "completed"
        assert row.output == b"[]"


async def test_logs_are_dropped_in_batches_of_bounded_bytes(past: Aged):
    rows = chain(3, expires_at=ago(-DAY))
    await past.add(
        *(row | {"updated_at": ago(DAY) + n} for n, row in enumerate(rows)),
        events=2,
        frames=b"x" * (10 << 20),
    )
    steps = retention(past)
    assert await steps.compact()
    assert {row.interaction_id for row in await past.rows(interaction_events)} == {rows[2]["id"]}
    assert await steps.compact()
    assert not await steps.compact()
    assert await past.count(interaction_events) == 0


async def test_what_is_spent_is_thrown_away(past: Aged):
    await past.spend(1200)
    steps = retention(past)
    while await steps.purge():
        pass
    for table in (idempotency_keys, upload_sessions, upstream_resources):
        [row] = await past.rows(table)
        assert row.expires_at > ago(0)


# Everything at once


async def test_d5_deletes_sweeps_and_compaction_at_once_leave_no_orphans(past: Aged, database_url):
    other = Database(database_url)
    here, there = retention(past), Retention(other, "conversation", HOUR)
    dice = random.Random(5)
    try:
        for turn in range(12):
            expired = [row for n in range(6) for row in chain(10, f"old{turn}_{n}")]
            alive = [row for n in range(6) for row in chain(10, f"new{turn}_{n}", expires_at=ago(-DAY))]
            await past.add(*expired, *alive, events=3)
            doomed = {row["id"] for row in dice.sample(alive, 30)}
            ids = [row["id"] for row in expired]
            await asyncio.gather(
                *(Interactions(dice.choice((past.database, other))).delete(PROJECT, one) for one in doomed),
                *(exhausted(steps, dice.sample(ids, 40)) for steps in (here, there) for _ in range(2)),
                *(steps.compact() for steps in (here, there, here, there)),
                sweep(past),
            )
            await sweep(past)  # whatever one of them was writing, the others passed over
            backlog = await here.backlog()
            assert (backlog.expired, backlog.orphans) == (0, 0)
            kept = {row["id"] for row in alive} - doomed
            assert {one for one in await past.left() if f"new{turn}_" in one or "old" in one} == kept
    finally:
        await other.close()
    while await here.compact():
        pass
    assert await past.count(interaction_events) == 0
    assert await past.count(interaction_labels) == len(await past.left()) == 12 * 30


async def exhausted(steps: Retention, ids: Sequence[str]) -> None:
    while ids:
        ids = (await steps.erase(ids)).left


async def test_the_backlog_is_counted(past: Aged):
    await past.add(*chain(3), events=1)
    await past.add(aged("v1_held"), aged("v1_alive", "v1_held", expired=False, updated_at=ago(0)))
    await left_behind(past.database, Leftover("a", "c", "files/1"))
    found = await retention(past).backlog()
    assert (found.expired, found.logs, found.leftovers, found.orphans) == (1, 4, 1, 0)
    assert (await retention(past, "interaction").backlog()).expired == 4


# SQLite's files

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@ON_SQLITE
async def test_p8_a_database_does_not_grow_with_what_is_gone(past: Aged):
    sizes = []
    for turn in range(8):
        rows = [aged(f"v1_{turn}_{n}", input=b"x" * 20_000) for n in range(100)]
        await past.add(*rows, events=10, frames=b"x" * 5_000)
        while await retention(past).compact():
            pass
        await sweep(past)
        await retention(past).checkpoint()
        sizes.append(await pages(past.database))
    assert await past.left() == set()
    assert sizes[0] > 1000
    assert max(sizes) <= sizes[0] * 1.1


@ON_SQLITE
async def test_p8_a_log_that_a_reader_made_grow_is_emptied_when_it_has_gone(past: Aged):
    reading, read = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def long_read(connection):
        connection.execute(select(interactions)).all()
        loop.call_soon_threadsafe(reading.set)
        asyncio.run_coroutine_threadsafe(read.wait(), loop).result(timeout=60)

    reader = asyncio.ensure_future(past.database.read(long_read))
    await reading.wait()
    for n in range(9):
        await past.add(aged(f"v1_big_{n}", input=b"x" * (10 << 20)))
    steps = retention(past)
    await steps.checkpoint()
    assert await wal_bytes(steps) > 80 << 20
    read.set()
    await reader
    await steps.checkpoint()
    assert await wal_bytes(steps) == 0
    assert len(await past.left()) == 9


async def wal_bytes(steps: Retention) -> int:
    size = (await steps.backlog()).wal_bytes
    assert size is not None
    return size


async def pages(database: Database) -> int:
    return await database.read(
        lambda connection: connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    )


async def execute(database: Database, statement: str) -> None:
    def run(connection, batch):
        return [connection.execute(text(one)) and None for one in batch]

    await database.write(run, statement)


async def left_behind(database: Database, *left: Leftover) -> None:
    def run(connection, batch):
        for one in batch:
            leave(connection, one)
        return [None] * len(batch)

    await database.write(run, left)
