"""Prepared statements: each value gets to where it belongs on both databases, and what was met is counted."""

import re
from itertools import permutations

import pytest
from sqlalchemy import bindparam, insert, select, update

from app.store.database import Database
from app.store.prepared import Prepared
from app.store.schema import leases

NAMES = ("name", "owner", "lease_until")
ROWS = [("a", "me", 1), ("b", "you", 2), ("c", "me", 3)]


async def rows(database: Database) -> list[tuple[object, ...]]:
    query = select(leases.c.name, leases.c.owner, leases.c.lease_until, leases.c.done_at).order_by(
        leases.c.name
    )
    return await database.read(lambda connection: [tuple(row) for row in connection.execute(query)])


@pytest.mark.parametrize("order", [*permutations(range(3))])
async def test_rows_go_where_their_names_say(database: Database, order: tuple[int, ...]):
    prepared = Prepared(insert(leases).values(done_at=7), [NAMES[place] for place in order])
    arranged = [tuple(row[place] for place in order) for row in ROWS]
    assert await database.write(lambda connection, _: [prepared.many(connection, arranged)], None) == 3
    assert await rows(database) == [(*row, 7) for row in ROWS]


async def test_it_tells_how_many_rows_it_has_met_of_one_and_of_many(database: Database):
    change = Prepared(
        update(leases)
        .where(leases.c.name == bindparam("which"), leases.c.owner == "me")
        .values(done_at=None),
        ["which"],
    )
    begin = Prepared(insert(leases), NAMES)
    await database.write(lambda connection, _: [begin.many(connection, ROWS)], None)
    for names, count in (("abc", 2), ("a", 1), ("b", 0), ("bx", 0)):
        met = await database.write(
            lambda connection, batch: [change.many(connection, [(name,) for name in batch[0]])], names
        )
        assert met == count


def test_what_nobody_gives_a_value_is_refused_at_once():
    statement = update(leases).where(leases.c.name == bindparam("which")).values(owner=bindparam("whose"))
    with pytest.raises(ValueError, match=re.escape("nobody says what ['whose'] are")):
        Prepared(statement, ["which"])
