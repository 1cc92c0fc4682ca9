"""Row A11: whoever is found under the previous pepper is let in, and moves to the current one."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy import select

from app.core.audit import Actor, Entry
from app.core.versions import Digest, Versions
from app.store.holders import Holders
from app.store.keys import Key
from app.store.peppers import Hanging, Peppers
from app.store.schema import admin_tokens, api_keys, audit_log, projects
from app.store.tokens import Token, Tokens
from tests.store.conftest import MINE, Store

OLD, NEW = b"old pepper", b"new pepper"
BEFORE, AFTER = b"1" * 32, b"2" * 32
CHANGED = Versions(AFTER, previous=BEFORE)
PREPARED = Versions(BEFORE, coming=AFTER)
ENTRY = Entry("gateway", Actor("cli", "ada"), "token.create", "tok_1")


async def with_key(store: Store, digest: Digest) -> None:
    await store.keys.create(Key("key_1", MINE, "mine", "a key", "igw_a", 1, None, None), digest)


async def with_token(store: Store, digest: Digest) -> None:
    await Tokens(store.database).create(Token("tok_1", "ada", "owner", 1, None, None), digest, ENTRY)


async def of_key(holders: Holders, digests: Versions[bytes]) -> str | None:
    found = await holders.of_key(digests)
    return found.key_id if found else None


async def of_token(holders: Holders, digests: Versions[bytes]) -> str | None:
    found = await holders.of_token(digests)
    return found.id if found else None


KINDS = {"a key": (with_key, of_key, api_keys), "a token": (with_token, of_token, admin_tokens)}


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


async def settled(store: Store, table) -> list[tuple[object, ...]]:
    """The digests, once what was to be written in the background has been."""
    await store.database.write(lambda _connection, batch: [None] * len(batch), None)
    digest = table.c.digest if "digest" in table.c else table.c.name
    query = select(digest, table.c.pepper)
    rows = await store.database.read(lambda connection: connection.execute(query).all())
    return [tuple(row) for row in rows]


async def test_a11_what_is_found_under_the_previous_pepper_moves_to_the_current_one(store: Store, kind):
    create, find, table = kind
    await create(store, Digest(BEFORE, OLD))
    holders = Holders(store.database, NEW)
    found = await find(holders, CHANGED)
    assert found is not None
    assert await settled(store, table) == [(AFTER, NEW)]
    assert await find(holders, Versions(AFTER)) == found
    assert await find(holders, Versions(BEFORE)) is None


async def test_a11_what_another_process_has_moved_is_found_and_left_there(store: Store, kind):
    create, find, table = kind
    await create(store, Digest(AFTER, NEW))
    assert await find(Holders(store.database, OLD), PREPARED) is not None
    assert await settled(store, table) == [(AFTER, NEW)]


async def test_a11_without_the_previous_pepper_nothing_is_found(store: Store, kind):
    create, find, table = kind
    await create(store, Digest(BEFORE, OLD))
    assert await find(Holders(store.database, NEW), Versions(AFTER)) is None
    assert await settled(store, table) == [(BEFORE, OLD)]


async def test_a11_many_at_once_move_it_once(store: Store, kind):
    create, find, table = kind
    await create(store, Digest(BEFORE, OLD))
    one, other = Holders(store.database, NEW), Holders(store.database, OLD)
    found = await asyncio.gather(
        *(find(each, them) for _ in range(20) for each, them in ((one, CHANGED), (other, PREPARED)))
    )
    assert None not in found
    assert await settled(store, table) == [(AFTER, NEW)]


async def test_a11_a_caller_with_a_key_of_its_own_keeps_its_project(store: Store):
    before = await Holders(store.database, OLD).passthrough(Versions(BEFORE))
    holders = Holders(store.database, NEW)
    assert (await Holders(store.database, OLD).passthrough(PREPARED)).project_id == before.project_id
    for digests in (CHANGED, CHANGED, Versions(AFTER)):
        assert (await holders.passthrough(digests)).project_id == before.project_id
        await settled(store, projects)
    again = Versions(b"3" * 32, previous=AFTER)
    assert (await Holders(store.database, b"newest").passthrough(again)).project_id == before.project_id
    query = select(projects.c.id).where(projects.c.id.startswith("byok_"))
    assert len(await store.database.read(lambda connection: connection.execute(query).all())) == 1


async def test_a11_a_caller_that_two_projects_were_made_for_keeps_the_current_one(store: Store):
    """As when somebody has changed the pepper without the previous one beside it."""
    await Holders(store.database, OLD).passthrough(Versions(BEFORE))
    current = await Holders(store.database, NEW).passthrough(Versions(AFTER))
    assert current.project_id == "byok_" + AFTER.hex()[:32]
    for _ in range(2):
        assert await Holders(store.database, NEW).passthrough(CHANGED) == current


async def test_a11_what_hangs_on_another_pepper_is_counted_as_long_as_it_is_valid(store: Store):
    peppers = Peppers(store.database)
    assert await peppers.hanging([NEW]) == Hanging(0, 0, 0)
    await with_key(store, Digest(BEFORE, OLD))
    await with_token(store, Digest(BEFORE, OLD))
    await Holders(store.database, OLD).passthrough(Versions(BEFORE))
    await settled(store, projects)
    assert await peppers.hanging([NEW]) == Hanging(1, 1, 1)
    assert await peppers.hanging([OLD]) == await peppers.hanging([NEW, OLD]) == Hanging(0, 0, 0)
    holders = Holders(store.database, NEW)
    find: list[Callable[[Versions[bytes]], Awaitable[object]]]
    find = [holders.of_key, holders.of_token, holders.passthrough]
    for each in find:
        await each(CHANGED)
    await settled(store, api_keys)
    assert await peppers.hanging([NEW]) == Hanging(0, 0, 0)
    assert await peppers.hanging([OLD]) == Hanging(1, 1, 1)
    await store.keys.revoke("key_1")
    await Tokens(store.database).revoke("tok_1", ENTRY)
    assert await peppers.hanging([OLD]) == Hanging(0, 0, 1)


async def test_a_pepper_is_remembered_once_with_its_entry(store: Store):
    peppers = Peppers(store.database)
    assert await peppers.known() == []
    assert await peppers.add(OLD)
    added = await asyncio.gather(*(peppers.add(NEW, ENTRY) for _ in range(3)), peppers.add(OLD, ENTRY))
    assert sorted(added) == [False, False, False, True]
    assert await peppers.known() == [OLD, NEW]
    query = select(audit_log.c.action)
    assert await store.database.read(lambda connection: [*connection.scalars(query)]) == [ENTRY.action]
