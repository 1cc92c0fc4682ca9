"""Interactions as resources: a project sees its own, and nothing of another's."""

import asyncio
import random

import pytest
from sqlalchemy import Table, func, select
from sqlalchemy.exc import IntegrityError

from app.core.chain import MissingLink, history
from app.core.listing import Query
from app.store.interactions import Reached
from app.store.listing import Listing
from app.store.schema import interaction_events, interaction_labels
from tests.store.conftest import MINE, THEIRS, Store, batch, outcome


@pytest.fixture
async def mine(store: Store) -> str:
    """An ended interaction of MINE with a parent, a label and events."""
    parent = await store.complete()
    made = await store.begin(parent_id=parent, depth=1, root_id=parent, labels=(("team", "a"),))
    assert await store.runs.finish(outcome(made, last_seq=1, events=batch(made, 1, 1, b"x")))
    return made


READS = {
    "get": lambda store, project, one: store.interactions.get(project, one),
    "parent": lambda store, project, one: store.interactions.parent(project, one),
    "reached": lambda store, project, one: store.interactions.reached(project, one),
    "chain": lambda store, project, one: store.interactions.chain(project, one),
    "events": lambda store, project, one: store.runs.events(project, one, 0),
    "page": lambda store, project, one: Listing(store.database).page(project, Query(10)),
    "page by label": lambda store, project, one: Listing(store.database).page(
        project, Query(10, labels=(("team", "a"),))
    ),
    "delete": lambda store, project, one: store.interactions.delete(project, one),
}


async def test_another_project_sees_and_erases_nothing(store: Store, mine):
    for name, read in READS.items():
        for project in (THEIRS, "prj_nobody", ""):
            assert not await read(store, project, mine), name
        assert await read(store, MINE, mine), name


async def test_what_never_was_is_as_absent_as_what_is_foreign(store: Store):
    for name, read in READS.items():
        assert not await read(store, MINE, "v1_neverwas"), name


async def test_what_is_expired_or_not_stored_is_hidden(store: Store):
    labels = (("team", "a"),)
    expired = await store.complete(labels=labels, retention_ms=-1)
    not_stored = await store.complete(labels=labels, store=False)
    for name in ("get", "parent", "reached", "page", "page by label", "delete"):
        for hidden in (expired, not_stored):
            assert not await READS[name](store, MINE, hidden), name


async def test_an_interaction_expires_by_the_clock_of_the_database(store: Store):
    made = await store.complete(retention_ms=2000)
    assert await store.interactions.get(MINE, made)
    await asyncio.sleep(2.1)
    assert await store.interactions.get(MINE, made) is None


async def test_an_expired_ancestor_still_is_part_of_the_conversation(store: Store):
    first = await store.complete(output=b"[1]", retention_ms=-1)
    second = await store.complete(first, output=b"[2]", depth=1)
    links = await store.interactions.chain(MINE, second)
    assert [link.id for link in links] == [first, second]
    assert history(links) == b"[1,2]"


async def test_a_foreign_ancestor_is_no_ancestor(store: Store):
    foreign = await store.complete(output=b'["secret"]', project_id=THEIRS)
    child = await store.complete(foreign, depth=1)
    links = await store.interactions.chain(MINE, child)
    assert [link.id for link in links] == [child]
    with pytest.raises(MissingLink, match=foreign):
        history(links)


async def test_a_deleted_ancestor_is_missed_by_name(store: Store):
    first = await store.complete()
    second = await store.complete(first, depth=1)
    third = await store.complete(second, depth=2)
    assert await store.interactions.delete(MINE, second)
    with pytest.raises(MissingLink, match=second):
        history(await store.interactions.chain(MINE, third))
    assert history(await store.interactions.chain(MINE, first)) == b"[]"


async def test_a_parent_says_what_its_child_must_know(store: Store):
    first = await store.complete(output=b"[12]", history_bytes=10)
    second = await store.complete(first, root_id=first, depth=1, output=b"[3456]", history_bytes=14)
    parent = await store.interactions.parent(MINE, second)
    assert parent is not None
    assert (parent.id, parent.root_id, parent.status) == (second, first, "completed")
    assert (parent.depth, parent.history_bytes) == (1, 20)
    assert await store.interactions.parent(MINE, await store.begin()) is not None


async def test_the_newest_come_first(store: Store):
    made = [await store.complete(created_at=1000 + n // 2) for n in range(10)]
    expected = sorted(made, key=lambda one: (made.index(one) // 2, one), reverse=True)
    listing = Listing(store.database)
    assert [found.id for found in await listing.page(MINE, Query(5))] == expected[:5]
    assert [found.id for found in await listing.page(MINE, Query(100))] == expected


async def test_erased_is_everything_of_it_and_nothing_else(store: Store, mine):
    other = await store.complete(labels=(("team", "a"),))
    assert await store.interactions.delete(MINE, mine)
    assert await store.interactions.get(MINE, mine) is None
    for table in (interaction_events, interaction_labels):
        assert await count(store, table, mine) == 0
    assert await store.interactions.get(MINE, other)
    assert not await store.interactions.delete(MINE, mine)


async def count(store: Store, table: Table, interaction_id: str) -> int:
    query = select(func.count()).select_from(table).where(table.c.interaction_id == interaction_id)
    return await store.database.read(lambda connection: connection.execute(query).scalar_one())


async def test_a_long_chain_comes_in_order(store: Store):
    made = [f"v1_link{n:08}" for n in range(1000)]
    await asyncio.gather(
        *(
            store.complete(made[n - 1] if n else None, b"[%d]" % n, id=made[n], depth=n)
            for n in random.Random(1).sample(range(1000), 1000)
        )
    )
    links = await store.interactions.chain(MINE, made[-1])
    assert [link.id for link in links] == made
    assert history(links) == b"[%s]" % b",".join(b"%d" % n for n in range(1000))


async def test_siblings_do_not_lengthen_a_chain(store: Store):
    root = await store.complete(output=b"[0]")
    made = await asyncio.gather(*(store.complete(root, b"[%d]" % n, depth=1) for n in range(1, 2001)))
    for position in (0, 999, 1999):
        links = await store.interactions.chain(MINE, made[position])
        assert history(links) == b"[0,%d]" % (position + 1)


async def test_the_same_id_cannot_be_made_twice(store: Store):
    made = await store.begin()
    with pytest.raises(IntegrityError):
        await store.begin(id=made, project_id=THEIRS)
    assert await store.interactions.get(THEIRS, made) is None


async def test_how_far_it_is_can_be_seen_without_reading_it(store: Store):
    interaction_id = await store.begin()
    assert await store.interactions.reached(MINE, interaction_id) == Reached("in_progress", 0, followed=False)
    assert await store.runs.finish(outcome(interaction_id, status="incomplete", last_seq=7))
    assert await store.interactions.reached(MINE, interaction_id) == Reached("incomplete", 7, followed=False)
    assert await store.interactions.reached(THEIRS, interaction_id) is None
    assert await store.interactions.reached(MINE, "v1_absent_absent") is None
