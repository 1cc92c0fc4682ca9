"""Row A11: what is kept of upstreams names their keys by fingerprints, which follow the pepper."""

from functools import partial
from typing import Any

from sqlalchemy import Connection, insert, select, update

from app.core.versions import Versions
from app.store.fingerprints import Fingerprints
from app.store.resources import NewResource, Resources
from app.store.schema import interactions, upload_sessions, upstream_leftovers, upstream_resources
from tests.store.conftest import MINE, THEIRS, Store

VERSIONS = [Versions("new1", "old1", "next1"), Versions("new2", "old2")]
TABLES = (upstream_resources, upload_sessions, upstream_leftovers, interactions)


def made(name: str, credential: str, project: str = MINE) -> NewResource:
    return NewResource(name, "up", credential, project, None, "files")


async def change(store: Store, *statements: Any) -> None:
    def run(connection, batch):
        for statement in batch[0]:
            connection.execute(statement)
        return [None]

    await store.database.write(run, statements)


async def credentials(store: Store) -> list[set[str | None]]:
    """Of each table, those that stand in it."""
    found = []
    for table in TABLES:
        rows = await store.database.read(partial(Connection.execute, statement=select(table.c.credential)))
        found.append({row.credential for row in rows})
    return found


async def test_a11_every_fingerprint_follows_the_pepper(store: Store):
    resources = Resources(store.database)
    for number in range(450):  # more than are changed at once
        await resources.record(made(f"files/{number}", f"old{number % 2 + 1}"))
    await resources.record(made("files/foreign", "somebody else's", THEIRS))
    for _ in range(3):
        kept = await store.begin()
        its = interactions.c.id == kept
        await change(store, update(interactions).where(its).values(upstream_id="u", credential="old1"))
    unkept = await store.begin()
    its = interactions.c.id == unkept
    session = {"digest": b"d", "project_id": MINE, "upstream": "up", "credential": "old2", "target": "/"}
    left = {"id": "left_1", "upstream": "up", "credential": "old1", "name": "n", "due_at": 1, "attempts": 0}
    await change(
        store,
        update(interactions).where(its).values(credential="old1"),
        insert(upload_sessions).values(**session, created_at=1, expires_at=9),
        insert(upstream_leftovers).values(**left, created_at=1),
    )
    fingerprints = Fingerprints(store.database, VERSIONS)
    assert await fingerprints.hanging() == 450 + 3 + 1 + 1
    rounds = 0
    while await fingerprints.some():
        rounds += 1
    assert rounds == 2
    assert await fingerprints.hanging() == 0
    assert await credentials(store) == [
        {"new1", "new2", "somebody else's"},
        {"new2"},
        {"new1"},
        {"new1", "old1"},  # one of an interaction that its upstream does not keep: nobody asks for it
    ]
    await resources.record(made("files/late", "old1"))  # by a process that has not been restarted
    assert not await fingerprints.some()  # which changes it itself, when it is
    assert await Fingerprints(store.database, VERSIONS).some()


async def test_a11_without_a_previous_pepper_nothing_is_looked_for(store: Store):
    await Resources(store.database).record(made("files/a", "next1"))
    fingerprints = Fingerprints(store.database, [Versions("new1", coming="next1")])
    assert not await fingerprints.some()
    assert await fingerprints.hanging() == 0
    assert (await credentials(store))[0] == {"next1"}


async def test_a11_what_was_noted_again_in_the_meantime_is_there_once(store: Store):
    resources = Resources(store.database, {"old1": "new1"})
    await resources.record(made("files/a", "old1"))
    await resources.record(made("files/a", "new1"))
    fingerprints = Fingerprints(store.database, VERSIONS)
    while await fingerprints.some():
        pass
    page = await resources.page(MINE, "files", None, 9)
    assert [(each.name, each.credential) for each in page] == [("files/a", "new1")]


async def test_a11_a_fingerprint_is_read_as_the_current_one_before_it_is_changed(store: Store):
    resources = Resources(store.database, {"old1": "new1"})
    await resources.record(made("files/a", "old1"))
    await resources.record(made("files/b", "new1"))
    standing = await resources.standing(MINE, ["files/a", "files/b"])
    assert {each.credential for each in standing.own.values()} == {"new1"}
