"""Who owns what was made at an upstream: files, caches, batches, agents, ...

The upstream keeps the things; here is whose they are, and with which credential they were made.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, insert, literal, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from app.store.clock import now
from app.store.database import Database
from app.store.schema import upstream_resources


@dataclass(frozen=True, slots=True)
class NewResource:
    """Something that a project has made. `credential` is a fingerprint, never a key.

    What an interaction has made goes when it is deleted: it has its `interaction_id`. A job, which tells
    later what it has used, has the `call_id` under which the ledger waits for that.
    """

    name: str
    upstream: str
    credential: str
    project_id: str
    key_id: str | None
    kind: str
    uri: str | None = None
    expires_at: int | None = None
    interaction_id: str | None = None
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Resource:
    """One of a project's own, as a request needs it."""

    name: str
    upstream: str
    credential: str
    created_at: int
    call_id: str | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of some names: those of the project, and those that are another's."""

    own: dict[str, Resource]
    foreign: frozenset[str]


class Taken(Exception):
    """Something of this name belongs to another project."""


class Resources:
    """Reads and writes ownership. Fingerprints that are known by others now are read as these."""

    def __init__(self, database: Database, renamed: Mapping[str, str] = MappingProxyType({})) -> None:
        self._database = database
        self._renamed = renamed

    async def record(self, made: NewResource) -> None:
        """Note whose this is from now on, or when it now expires. Raises Taken."""
        try:
            await self._database.write(_record, made)
        except IntegrityError as error:
            raise Taken(made.name) from error

    async def adopt(self, found: NewResource) -> None:
        """Note whose this is, unless somebody has it already."""
        with contextlib.suppress(IntegrityError):
            await self._database.write(_adopt, found)

    def forget(self, project_id: str, name: str) -> "asyncio.Future[None]":
        """It is gone upstream."""
        return self._database.write(_forget, (project_id, name))

    async def standing(self, project_id: str, names: Iterable[str]) -> Standing:
        """Whose these are: this project's, another's, or (neither) nobody's."""
        query = select(upstream_resources.c.project_id, *_RESOURCE).where(
            upstream_resources.c.name.in_(list(names)), _ALIVE
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        own = {row.name: self._read(row[1:]) for row in rows if row.project_id == project_id}
        return Standing(own, frozenset(row.name for row in rows) - own.keys())

    async def page(
        self, project_id: str, kind: str, after: tuple[int, str] | None, limit: int
    ) -> list[Resource]:
        """A project's own of a kind, newest first, after this (created_at, name)."""
        table = upstream_resources.c
        query = select(*_RESOURCE).where(table.project_id == project_id, table.kind == kind, _ALIVE)
        if after is not None:
            position = tuple_(*(literal(value) for value in after))
            query = query.where(tuple_(table.created_at, table.name) < position)
        query = query.order_by(table.created_at.desc(), table.name.desc()).limit(limit)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [self._read(row) for row in rows]

    def _read(self, row: Sequence[Any]) -> Resource:
        found = Resource(*row)
        renamed = self._renamed.get(found.credential)
        return found if renamed is None else replace(found, credential=renamed)


_RESOURCE = [upstream_resources.c[name] for name in Resource.__slots__]
_ALIVE = or_(upstream_resources.c.expires_at.is_(None), upstream_resources.c.expires_at > now())
_SAME = and_(
    *(upstream_resources.c[name] == bindparam(f"{name}_") for name in ("name", "upstream", "credential"))
)
_ENDED = delete(upstream_resources).where(_SAME, upstream_resources.c.expires_at <= now())
_RENEW = (
    update(upstream_resources)
    .where(_SAME, upstream_resources.c.project_id == bindparam("project_id_"))
    .values(expires_at=bindparam("expires_at_"))
)
_INSERT = insert(upstream_resources).values(created_at=now())


def _record(connection: Connection, batch: Sequence[NewResource]) -> Sequence[None]:
    for made in batch:
        row = _row(made)
        connection.execute(_ENDED, _bound(row))
        if connection.execute(_RENEW, _bound(row)).rowcount == 0:
            connection.execute(_INSERT, row)
    return [None] * len(batch)


def _adopt(connection: Connection, batch: Sequence[NewResource]) -> Sequence[None]:
    for found in batch:
        row = _row(found)
        connection.execute(_ENDED, _bound(row))
        known = select(upstream_resources.c.name).where(_SAME)
        if connection.execute(known, _bound(row)).first() is None:
            connection.execute(_INSERT, row)
    return [None] * len(batch)


def _forget(connection: Connection, batch: Sequence[tuple[str, str]]) -> Sequence[None]:
    for project_id, name in batch:
        connection.execute(
            delete(upstream_resources).where(
                upstream_resources.c.project_id == project_id, upstream_resources.c.name == name
            )
        )
    return [None] * len(batch)


def _row(made: NewResource) -> dict[str, Any]:
    return {name: getattr(made, name) for name in NewResource.__slots__}


def _bound(row: dict[str, Any]) -> dict[str, Any]:
    return {f"{name}_": value for name, value in row.items()}
