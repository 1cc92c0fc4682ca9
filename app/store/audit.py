"""The audit log: rows that are only ever added, and once sealed with their place in a chain.

A moment after an entry is written the sealer gives it its number and its hash; the heads of the
chains are signed with a secret that is not in the database.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    func,
    insert,
    literal,
    select,
    union,
)

from app import ids
from app.core import audit
from app.core.audit import Entry, Head, Record
from app.core.listing import Span
from app.core.model import Json
from app.store.clock import now
from app.store.database import Database
from app.store.pages import page
from app.store.prepared import Prepared
from app.store.schema import audit_heads, audit_log

_PAGE = 1000


class Sealed(NamedTuple):
    """A record of a chain with the hash that is stored for it."""

    record: Record
    hash: bytes


@dataclass(frozen=True, slots=True)
class Question:
    """Which records: all given conditions hold; `since` is in epoch milliseconds."""

    project_id: str | None = None
    action: str | None = None
    actor: str | None = None
    since: int | None = None


class Audit:
    """Writes entries and reads records."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, *entries: Entry) -> "asyncio.Future[None]":
        """Write entries with whatever else is committed next; nobody has to wait for it."""
        return self._database.write(_append, entries)

    async def page(self, asked: Question, span: Span) -> list[Record]:
        """Records, newest first, sealed or not."""
        query = page(_chosen(asked), [audit_log.c.at, audit_log.c.id], span, newest=True)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [recorded(row) for row in rows]

    async def chains(self) -> list[str]:
        """Every project with a chain or the head of one, in order."""
        known = select(audit_log.c.project_id).where(audit_log.c.seq.is_not(None))
        query = union(known, select(audit_heads.c.project_id).where(audit_heads.c.project_id != audit.CHAINS))
        found = await self._database.read(lambda connection: [*connection.scalars(query)])
        return sorted(found)

    async def heads(self) -> dict[str, Head]:
        """How far each chain is said to go; among them, under `CHAINS`, which chains there are."""
        rows = await self._database.read(lambda connection: connection.execute(HEADS).all())
        return {row.project_id: Head(*row) for row in rows}

    async def sealed(self, project_id: str, after: int) -> list[Sealed]:
        """The next records of a chain; empty at its end."""
        chosen = {"project": project_id, "after": after}
        rows = await self._database.read(lambda connection: connection.execute(_CHAIN, chosen).all())
        return [Sealed(recorded(row[:-1]), row.hash or b"") for row in rows]

    async def chain(self, project_id: str, after: int, until: int | None) -> AsyncIterator[Sealed]:
        """The records of a chain behind this number, and not behind that one."""
        while page := await self.sealed(project_id, after):
            for sealed in page:
                after = sealed.record.seq or 0
                if until is not None and after > until:
                    return
                yield sealed

    async def open(self, project_id: str) -> int:
        """How many records of a project are not sealed yet."""
        query = select(func.count()).select_from(audit_log).where(OPEN, audit_log.c.project_id == project_id)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one())


def append(connection: Connection, entries: Sequence[Entry]) -> Sequence[None]:
    """Write entries in this transaction: with the change that they tell of, or not at all."""
    if entries:
        _INSERT.many(connection, [_row(entry) for entry in entries])
    return [None] * len(entries)


def _append(connection: Connection, batch: Sequence[Sequence[Entry]]) -> Sequence[None]:
    append(connection, [entry for entries in batch for entry in entries])
    return [None] * len(batch)


def _row(entry: Entry) -> tuple[Any, ...]:
    """The values of `_WRITTEN`."""
    project_id, actor, action, target, outcome, bytes_in, bytes_out, details = entry
    kind, name, address, request_id = actor
    who = kind, audit.plain(name), audit.plain(address), request_id
    text = None if details is None else orjson.dumps(details)
    what = action, audit.plain(target), outcome, bytes_in, bytes_out, text
    return (project_id, ids.new_id("aud"), *who, *what)


OPEN = audit_log.c.seq.is_(None)
_WRITTEN = tuple(name for name in Record.__slots__ if name not in {"seq", "at"})
_INSERT = Prepared(insert(audit_log).values(at=now()), _WRITTEN)
RECORD = select(*(audit_log.c[name] for name in Record.__slots__))
HEADS = select(*(audit_heads.c[name] for name in Head._fields))
_CHAIN = (
    RECORD.add_columns(audit_log.c.hash)
    .where(audit_log.c.project_id == bindparam("project"), audit_log.c.seq > bindparam("after"))
    .order_by(audit_log.c.seq)
    .limit(literal(_PAGE))
)


def fields_of(row: Sequence[Any]) -> Json:
    """The record in these columns; what is no text any more does not keep the rest from being read."""
    fields = dict(zip(Record.__slots__, row, strict=True))
    if (details := fields["details"]) is not None:
        fields["details"] = bytes(details).decode("utf-8", "backslashreplace")
    return fields


def recorded(row: Sequence[Any]) -> Record:
    """The same as a whole."""
    return Record(**fields_of(row))


def _chosen(asked: Question) -> Select[Any]:
    table = audit_log.c
    wanted = ("project_id", "action", "actor")
    conditions: list[ColumnElement[bool]] = [
        table[name] == getattr(asked, name) for name in wanted if getattr(asked, name) is not None
    ]
    if asked.since is not None:
        conditions.append(table.at >= asked.since)
    return RECORD.where(*conditions)
