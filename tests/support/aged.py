"""Interactions of any age and shape, put into a database past the gateway; and what is left of them."""

import time
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Table, func, insert, select

from app.store.database import Database
from app.store.keys import Keys, Project
from app.store.schema import (
    idempotency_keys,
    interaction_events,
    interaction_labels,
    interactions,
    upload_sessions,
    upstream_resources,
)

PROJECT = "prj_aged"
HOUR = 3_600_000
DAY = 24 * HOUR


def ago(span_ms: int) -> int:
    """So long ago, in epoch milliseconds."""
    return time.time_ns() // 1_000_000 - span_ms


class Aged:
    """Fills a database with the past."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def begin(self) -> "Aged":
        """Make the project that everything belongs to."""
        await Keys(self.database).create_project(Project(PROJECT, "aged", 1, None))
        return self

    async def add(self, *rows: dict[str, Any], events: int = 0, frames: bytes = b"x" * 100) -> None:
        """Insert these interactions, each with a label and so many rows of events."""
        label = {"project_id": PROJECT, "name": "n", "value": "v"}
        log = [
            {"interaction_id": row["id"], "first_seq": seq, "last_seq": seq, "frames": frames}
            for row in rows
            for seq in range(1, events + 1)
        ]
        labels = [{"interaction_id": row["id"], **label} for row in rows]
        await self._insert((interactions, rows), (interaction_labels, labels), (interaction_events, log))

    async def put(self, table: Table, *rows: dict[str, Any]) -> None:
        """Insert rows of any table."""
        await self._insert((table, rows))

    async def _insert(self, *tables: tuple[Table, Sequence[dict[str, Any]]]) -> None:
        def fill(connection, batch):
            for table, rows in batch[0]:
                if rows:
                    connection.execute(insert(table), list(rows))
            return [None]

        await self.database.write(fill, tables)

    async def left(self) -> set[str]:
        """The ids of the interactions that are there."""
        return await self.database.read(lambda connection: set(connection.scalars(select(interactions.c.id))))

    async def rows(self, table: Table) -> list[Any]:
        """Everything in a table."""
        return await self.database.read(lambda connection: [*connection.execute(select(table)).all()])

    async def count(self, table: Table) -> int:
        """How many rows a table has."""
        query = select(func.count()).select_from(table)
        return await self.database.read(lambda connection: connection.execute(query).scalar_one())

    async def spend(self, count: int) -> None:
        """So many of everything that is thrown away when it has expired, and one of each that has not."""
        same = [{"project_id": PROJECT, "expires_at": ago(HOUR if n else -HOUR)} for n in range(count + 1)]
        place = {"upstream": "u", "credential": "c", "created_at": 1}
        used = {"fingerprint": b"", "interaction_id": "v1_any"}
        each = list(enumerate(same))
        await self.put(idempotency_keys, *({"key": f"{n}", **used, **one} for n, one in each))
        await self.put(
            upload_sessions, *({"digest": b"%d" % n, "target": "/", **place, **one} for n, one in each)
        )
        files = ({"name": f"files/{n}", "kind": "files", **place, **one} for n, one in each)
        await self.put(upstream_resources, *files)


def aged(
    interaction_id: str, parent: str | None = None, *, expired: bool = True, **fields: Any
) -> dict[str, Any]:
    """An interaction that ended yesterday and has expired, or lives on; with these fields."""
    usual: dict[str, Any] = {
        "id": interaction_id,
        "project_id": PROJECT,
        "parent_id": parent,
        "root_id": "v1_root",
        "depth": 0,
        "history_bytes": 0,
        "store": True,
        "background": False,
        "status": "completed",
        "options": b"{}",
        "input": b"[]",
        "output": b"[]",
        "created_at": ago(2 * DAY),
        "updated_at": ago(DAY),
        "expires_at": ago(HOUR if expired else -HOUR),
        "attempt": 1,
        "last_seq": 1,
        "lease_until": None,
        "upstream": "there",
        "credential": None,
        "upstream_id": None,
    }
    return usual | fields


def chain(length: int, name: str = "link", **fields: Any) -> list[dict[str, Any]]:
    """A conversation of one line, the root first; each has expired a moment after its parent."""
    ids = [f"v1_{name}_{n:06}" for n in range(length)]
    began = ago(DAY)
    return [
        aged(one, parent, **{"depth": n, "expires_at": began + n, **fields})
        for n, (one, parent) in enumerate(zip(ids, [None, *ids], strict=False))
    ]
