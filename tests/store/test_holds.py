"""Holds: what is held goes neither by expiry nor by a delete, whatever happens at the same time."""

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from sqlalchemy import select

from app import ids
from app.core.audit import Actor, Entry
from app.store.audit import Audit
from app.store.database import Database
from app.store.departure import Begun, Departure
from app.store.erasure import START
from app.store.holds import Hold, Holds
from app.store.interactions import Held, Interactions
from app.store.keys import Keys, Project
from app.store.retention import Retention
from app.store.schema import api_keys, interaction_events, projects, upstream_leftovers, upstream_resources
from tests.support.aged import DAY, HOUR, PROJECT, Aged, aged

ENTRY = Entry(PROJECT, Actor("cli", None), "hold.place", None)


@pytest.fixture
async def past(database: Database) -> Aged:
    """A database with the project of what is old."""
    return await Aged(database).begin()


async def place(database: Database, kind, target: str, project: str = PROJECT):
    hold = Hold(ids.new_id("hold"), project, kind, target, "case 1", 0)
    return await Holds(database).place(hold, ENTRY)


async def sweep(database: Database, clock="conversation") -> None:
    """Erase what has expired, as the sweeper does."""
    retention = Retention(database, clock, HOUR)
    position = START
    while found := await retention.expired(position):
        left = found.free
        while left:
            left = (await retention.erase(left)).left
        position = found.last


HOLDS = {
    "interaction": ("v1_one_aaaaa", {"v1_one_aaaaa"}),
    "conversation": ("v1_root_aaaa", {"v1_one_aaaaa", "v1_two_aaaaa"}),
    "key": ("key_1", {"v1_two_aaaaa", "v1_three_aaa"}),
    "project": (PROJECT, {"v1_one_aaaaa", "v1_two_aaaaa", "v1_three_aaa"}),
}


async def three(past: Aged, **fields) -> None:
    await past.add(
        aged("v1_one_aaaaa", root_id="v1_root_aaaa", key_id=None, **fields),
        aged("v1_two_aaaaa", root_id="v1_root_aaaa", key_id="key_1", **fields),
        aged("v1_three_aaa", root_id="v1_other_aaa", key_id="key_1", **fields),
    )


@pytest.mark.parametrize("clock", ["conversation", "interaction"])
@pytest.mark.parametrize("kind", HOLDS)
async def test_a_hold_beats_expiry_until_it_is_released(past: Aged, kind, clock):
    target, kept = HOLDS[kind]
    await three(past)
    placed = await place(past.database, kind, target)
    assert (placed.known, placed.covered) == (True, len(kept))
    await sweep(past.database, clock)
    assert await past.left() == kept
    assert (await Retention(past.database, clock, HOUR).backlog()).expired == 0
    (hold,) = await Holds(past.database).all(PROJECT)
    assert await Holds(past.database).release(hold.id, lambda _: ENTRY)
    assert not await Holds(past.database).release(hold.id, lambda _: ENTRY)
    await sweep(past.database, clock)
    assert await past.left() == set()


@pytest.mark.parametrize("kind", HOLDS)
async def test_a_hold_beats_a_delete(past: Aged, kind):
    target, kept = HOLDS[kind]
    await three(past, expired=False)
    await place(past.database, kind, target)
    stored = Interactions(past.database)
    for one in sorted(await past.left()):
        if one in kept:
            with pytest.raises(Held):
                await stored.delete(PROJECT, one)
        else:
            assert await stored.delete(PROJECT, one)
    assert await past.left() == kept
    with_another = Interactions(past.database).delete("prj_other", next(iter(kept)))
    assert await with_another is False  # to others it is not there, held or not


async def test_what_a_held_link_continues_is_kept_with_it(past: Aged):
    await past.add(
        aged("v1_root_bbbb", root_id="v1_root_bbbb"),
        aged("v1_leaf_bbbb", "v1_root_bbbb", root_id="v1_root_bbbb"),
    )
    await place(past.database, "interaction", "v1_leaf_bbbb")
    await sweep(past.database)
    assert await past.left() == {"v1_root_bbbb", "v1_leaf_bbbb"}


async def test_a_held_ancestor_stays_when_its_descendants_go(past: Aged):
    await past.add(
        aged("v1_root_bbbb", root_id="v1_root_bbbb"),
        aged("v1_leaf_bbbb", "v1_root_bbbb", root_id="v1_root_bbbb"),
    )
    await place(past.database, "interaction", "v1_root_bbbb")
    await sweep(past.database)
    assert await past.left() == {"v1_root_bbbb"}


async def test_nothing_is_held_that_is_not_there(past: Aged):
    await past.add(aged("v1_one_aaaaa"))
    for kind, target in (("interaction", "v1_no"), ("conversation", "v1_no"), ("key", "key_no")):
        assert not (await place(past.database, kind, target)).known
    assert not (await place(past.database, "interaction", "v1_one_aaaaa", "prj_no")).known
    assert await Holds(past.database).all() == []
    assert await Audit(past.database).open(PROJECT) == 0


async def test_a_hold_is_placed_once(past: Aged):
    await past.add(aged("v1_one_aaaaa"))
    for _ in range(2):
        assert (await place(past.database, "interaction", "v1_one_aaaaa")).known
    assert len(await Holds(past.database).all()) == 1


def racers(past: Aged, other: Database) -> dict[str, Callable]:
    async def delete(one: str) -> None:
        with contextlib.suppress(Held):
            await Interactions(other).delete(PROJECT, one)

    async def erase(one: str) -> None:
        await Retention(other, "conversation", HOUR).erase([one])

    async def depart(_: str) -> None:
        if await Departure(other).begin(PROJECT, ENTRY) is Begun.GOING:
            while await Departure(other).some(PROJECT):
                pass

    return {"delete": delete, "erase": erase, "depart": depart}


@pytest.mark.parametrize("racer", ["delete", "erase", "depart"])
async def test_what_a_hold_has_counted_is_not_erased_after_that(past: Aged, database_url: str, racer):
    """Two processes: when the hold covers it, it is there for good; else it was gone before."""
    other = Database(database_url)
    outcomes = set()
    for round_ in range(40):
        one = f"v1_race_{round_:05}"
        if racer == "depart":
            await past.database.write(_revive, None)
        await past.add(aged(one, expired=racer != "delete", root_id=one))
        race = racers(past, other)[racer]
        first = asyncio.create_task(race(one))
        if round_ % 2:
            await asyncio.sleep(round_ * 0.00005)
        placed, _ = await asyncio.gather(place(past.database, "interaction", one), first)
        covered = bool(placed.known and placed.covered)
        assert (one in await past.left()) is covered, (round_, placed)
        outcomes.add(covered)
        for hold in await Holds(past.database).all():
            await Holds(past.database).release(hold.id, lambda _: ENTRY)
    assert outcomes, "nothing was tried"
    await other.close()


def _revive(connection, batch):
    connection.execute(projects.update().values(deleted_at=None))
    return [None]


async def test_a_project_goes_with_everything_but_its_audit_log(past: Aged):
    database = past.database
    await Keys(database).create_project(Project("prj_stays", "stays", 1, None))
    rows = [aged(f"v1_n_{n:06}", upstream_id=f"there-{n}", credential="c") for n in range(1200)]
    await past.add(*rows, aged("v1_stays_aaa", project_id="prj_stays"), events=1)
    owned = {"project_id": PROJECT, "kind": "files", "upstream": "u", "credential": "c", "created_at": 1}
    await past.put(upstream_resources, *({"name": f"files/own-{n}", **owned} for n in range(600)))
    await past.spend(2)
    await Audit(database).write(ENTRY)
    departure = Departure(database)
    assert await departure.begin(PROJECT, ENTRY) is Begun.GOING
    assert await departure.begin(PROJECT, ENTRY) is Begun.GOING  # goes on
    assert not (await place(database, "project", PROJECT)).known
    assert not await departure.end(PROJECT)
    count = 0
    while some := await departure.some(PROJECT):
        count += some
        assert some <= 1000
    assert await departure.end(PROJECT)
    assert count >= 1800
    assert await past.left() == {"v1_stays_aaa"}
    assert await past.count(interaction_events) == 1
    assert await past.count(upstream_leftovers) >= 1800
    assert [row.id for row in await past.rows(projects)] == ["prj_stays"]
    assert await past.count(api_keys) == 0
    assert await Audit(database).open(PROJECT) == 2
    assert await departure.begin(PROJECT, ENTRY) is Begun.ABSENT


async def test_a_project_does_not_go_while_something_of_it_is_held(past: Aged):
    await past.add(aged("v1_one_aaaaa"))
    await place(past.database, "interaction", "v1_one_aaaaa")
    assert await Departure(past.database).begin(PROJECT, ENTRY) is Begun.HELD
    deleted_at = await past.database.read(lambda connection: connection.scalar(select(projects.c.deleted_at)))
    assert deleted_at is None


async def test_what_is_due_is_told_by_project_and_day(past: Aged):
    day = 20_000 * DAY
    await past.add(
        aged("v1_one_aaaaa", expires_at=day),
        aged("v1_two_aaaaa", expires_at=day + DAY - 1),
        aged("v1_three_aaa", expires_at=day + DAY),
    )
    await place(past.database, "interaction", "v1_two_aaaaa")
    told = [
        (due.project, due.day, due.interactions, due.held)
        for due in await Retention(past.database, "conversation", HOUR).due()
    ]
    assert told == [("aged", "2024-10-04", 2, 1), ("aged", "2024-10-05", 1, 0)]
