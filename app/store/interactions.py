"""Interactions as resources: read, continue, delete.

Every statement names the project, here and not in the caller: a foreign row is an absent row.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, String, and_, any_, bindparam, delete, func, literal, select

from app.core.audit import Entry
from app.core.chain import Link
from app.core.model import Interaction
from app.store.audit import append
from app.store.clock import now
from app.store.database import Database
from app.store.erasure import ERASED, follow
from app.store.holds import held, settle
from app.store.schema import interactions


@dataclass(frozen=True, slots=True)
class Parent:
    """What must be known of an interaction before it is continued."""

    id: str
    root_id: str
    status: str
    depth: int
    history_bytes: int


@dataclass(frozen=True, slots=True)
class Reached:
    """How far an interaction is; `last_seq` is 0 while it runs, and when its events were not kept."""

    status: str
    last_seq: int
    followed: bool


class Held(Exception):
    """The interaction exists, and must not be deleted."""


class Interactions:
    """Reads and deletes stored interactions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def delete(self, project_id: str, interaction_id: str, entry: Entry | None = None) -> bool:
        """Erase an interaction with everything of it; False when there is none. Raises Held.

        With `entry`, the audit log tells of it in the same transaction.
        """
        ending = await self._database.write(_delete, _Deletion(project_id, interaction_id, entry))
        if ending is _Ending.HELD:
            raise Held(interaction_id)
        return ending is _Ending.GONE

    async def get(self, project_id: str, interaction_id: str) -> Interaction | None:
        """The interaction, unless it is absent, foreign, expired or was not to be stored."""
        row = await self._first(_GET, project_id, interaction_id)
        return interaction(row._asdict()) if row is not None else None

    async def parent(self, project_id: str, interaction_id: str) -> Parent | None:
        """The interaction as a parent: how it ended and how long its history is."""
        row = await self._first(_PARENT, project_id, interaction_id)
        return Parent(*row) if row is not None else None

    async def reached(self, project_id: str, interaction_id: str) -> Reached | None:
        """How far the interaction is, without reading what is in it."""
        row = await self._first(_REACHED, project_id, interaction_id)
        return Reached(*row) if row is not None else None

    async def runs(self, project_id: str, interaction_id: str) -> bool:
        """Whether an interaction runs, or waits to, be it stored or not."""
        return await self._first(_RUNS, project_id, interaction_id) is not None

    async def chain(self, project_id: str, interaction_id: str) -> list[Link]:
        """The interaction and its ancestors, root first, as far up as they still exist.

        Ancestors count even when they have expired: a conversation in use keeps its context.
        """
        one = {"project": project_id, "interaction": interaction_id}
        rows = await self._database.read(
            lambda connection: connection.execute(_CHAIN[connection.dialect.name], one).all()
        )
        return [Link(*row) for row in rows]

    async def _first(
        self, query: Select[Any], project_id: str, interaction_id: str
    ) -> Row[*tuple[Any, ...]] | None:
        one = {"project": project_id, "interaction": interaction_id}
        return await self._database.read(lambda connection: connection.execute(query, one).first())


# Built once: to build a statement takes several times as long as to execute it.
_PROJECT = bindparam("project", type_=String)
_OWN = interactions.c.project_id == _PROJECT
_VISIBLE = and_(_OWN, interactions.c.store, interactions.c.expires_at > now())
_NAMED = interactions.c.id == bindparam("interaction")


def _columns(of: type) -> Select[Any]:
    """The columns that these fields are read from."""
    return select(*(interactions.c[name] for name in of.__slots__))  # type: ignore[attr-defined]


_GET = _columns(Interaction).where(_VISIBLE, _NAMED)
_REACHED = _columns(Reached).where(_VISIBLE, _NAMED)
_PARENT = _columns(Parent).where(_VISIBLE, _NAMED)
_RUNS = select(interactions.c.id).where(_OWN, _NAMED, interactions.c.lease_until.is_not(None))


def interaction(fields: dict[str, Any]) -> Interaction:
    """The interaction of these columns: what is not written yet, or was not to be kept, is empty."""
    for name, empty in (("options", b"{}"), ("input", b"[]"), ("output", b"[]"), ("details", b"{}")):
        fields[name] = fields[name] or empty
    return Interaction(**fields)


def _chain(*, sqlite: bool) -> Select[Any]:
    """A recursion over the parent ids: linear in the chain, however many children a link has.

    PostgreSQL is given no join, neither from a link to its parent nor from the links to their rows: where
    the table is small, or it has no statistics of a project yet, it would read all of it, even once a link.
    """
    first = select(interactions.c.id, interactions.c.parent_id).where(_OWN, _NAMED)
    links = first.cte("links", recursive=True)
    above = interactions.alias("above")
    parent = select(above).where(above.c.id == links.c.parent_id, above.c.project_id == _PROJECT)
    found = (parent.with_only_columns(above.c[name]).scalar_subquery() for name in ("id", "parent_id"))
    links = links.union_all(select(*found).where(links.c.parent_id.is_not(None)))
    chain = _columns(Link).order_by(interactions.c.depth)
    if sqlite:
        return chain.join(links, links.c.id == interactions.c.id)
    return chain.where(interactions.c.id == any_(func.array(select(links.c.id).scalar_subquery())))


_CHAIN = {"sqlite": _chain(sqlite=True), "postgresql": _chain(sqlite=False)}


class _Deletion(NamedTuple):
    project_id: str
    interaction_id: str
    entry: Entry | None


class _Ending(enum.Enum):
    GONE, ABSENT, HELD = range(3)


_DELETE = delete(interactions).where(_VISIBLE, _NAMED, ~held(interactions)).returning(*ERASED)
_THERE = select(interactions.c.id).where(_VISIBLE, _NAMED)


def _delete(connection: Connection, batch: Sequence[_Deletion]) -> Sequence[_Ending]:
    return [_deleted(connection, one) for one in batch]


def _deleted(connection: Connection, one: _Deletion) -> _Ending:
    """Erase one here; what others keep of it, or have yet to be told of it, in the same transaction."""
    settle(connection, select(literal(one.project_id)))
    chosen = {"project": one.project_id, "interaction": one.interaction_id}
    gone = connection.execute(_DELETE, chosen).all()
    follow(connection, gone)
    if gone:
        append(connection, [one.entry] if one.entry else [])
        return _Ending.GONE
    return _Ending.HELD if connection.execute(_THERE, chosen).first() is not None else _Ending.ABSENT
