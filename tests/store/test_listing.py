"""Pages of interactions: all conditions hold, and nothing is seen twice or missed."""

from app.core.listing import Query
from app.store.listing import Listing
from tests.store.conftest import MINE, Store


async def fill(store: Store) -> list[str]:
    """Ten interactions, oldest first; each two were created in the same millisecond."""
    return [
        await store.complete(
            id=f"v1_number{n}",
            created_at=1000 * (n // 2),
            model="even" if n % 2 == 0 else None,
            agent="odd" if n % 2 else None,
            parent="v1_number0" if n in (3, 4) else None,
            labels=(("third", str(n % 3)), ("half", str(n // 5))),
        )
        for n in range(10)
    ]


async def numbers(store: Store, **conditions) -> list[int]:
    found = await Listing(store.database).page(MINE, Query(**{"limit": 100, **conditions}))
    return [int(one.id[-1]) for one in found]


async def test_every_condition_holds(store: Store):
    await fill(store)
    await store.begin(id="v1_running_5", created_at=50_000)
    newest_first = [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]
    assert await numbers(store, status="completed") == newest_first
    assert await numbers(store, status="in_progress") == [5]
    assert await numbers(store, status="completed", limit=3) == [9, 8, 7]
    assert await numbers(store, model="even") == [8, 6, 4, 2, 0]
    assert await numbers(store, agent="odd") == [9, 7, 5, 3, 1]
    assert await numbers(store, model="odd") == []
    assert await numbers(store, parent_id="v1_number0") == [4, 3]
    assert await numbers(store, since=1000, until=3000) == [5, 4, 3, 2]
    assert await numbers(store, labels=(("third", "0"),)) == [9, 6, 3, 0]
    assert await numbers(store, labels=(("third", "0"), ("half", "0"))) == [3, 0]
    assert await numbers(store, labels=(("third", "0"), ("third", "1"))) == []
    assert await numbers(store, model="even", labels=(("half", "1"),), since=4000) == [8]


async def test_pages_go_on_where_they_ended(store: Store):
    await fill(store)
    listing = Listing(store.database)
    seen: list[int] = []
    after = None
    while found := await listing.page(MINE, Query(3, after=after)):
        seen += [int(one.id[-1]) for one in found]
        after = (found[-1].created_at, found[-1].id)
        await store.complete(created_at=1_000_000)
    assert seen == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


async def test_a_page_has_no_content(store: Store):
    made = await store.complete(input=b"[1]", output=b"[2]")
    [found] = await Listing(store.database).page(MINE, Query(1))
    assert (found.id, found.input, found.output) == (made, b"[]", b"[]")
