"""A project goes, with everything of it: step by step, so that others can write meanwhile.

From the first step on its keys are void, and nothing of it can be held any more; what is held
before keeps it from beginning. Whoever finds it half done goes on. The audit log stays, and so
does what is billed: neither has content.
"""

import asyncio
import enum
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, literal, select, update

from app.core.audit import Entry
from app.store.audit import append
from app.store.clock import now
from app.store.database import Database
from app.store.erasure import BYTES, ERASED, ROWS, follow
from app.store.holds import any_in
from app.store.leftovers import Leftover, leave
from app.store.notices import REVOKED, announce
from app.store.schema import api_keys, interactions, projects, upstream_resources


class Begun(enum.Enum):
    """What came of the first step."""

    GOING, ABSENT, HELD = range(3)


class Departure:
    """The steps."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, project_id: str, entry: Entry) -> "asyncio.Future[Begun]":
        """Void the project's keys, with the record of it, unless something of it is held."""
        return self._database.write(_begin, (project_id, entry))

    def some(self, project_id: str) -> "asyncio.Future[int]":
        """Erase some of its interactions, and of what it owns at upstreams; how many."""
        return self._database.write(_some, project_id)

    def end(self, project_id: str) -> "asyncio.Future[bool]":
        """The project itself, its keys, uploads and whatever else; False while there is more to erase."""
        return self._database.write(_end, project_id)


_mine = interactions.c.project_id == bindparam("project")
_size = sum(
    (
        func.coalesce(func.length(interactions.c[name]), 0)
        for name in ("options", "input", "output", "details")
    ),
    start=literal(0),
)
_oldest = (
    select(interactions.c.id, interactions.c.created_at, _size.label("size"))
    .where(_mine)
    .order_by(interactions.c.created_at, interactions.c.id)
    .limit(literal(ROWS))
).subquery()
_sized = select(
    _oldest.c.id,
    (func.sum(_oldest.c.size).over(order_by=(_oldest.c.created_at, _oldest.c.id)) - _oldest.c.size).label(
        "before"
    ),
).subquery()
_ERASE = (
    delete(interactions)
    .where(interactions.c.id.in_(select(_sized.c.id).where(_sized.c.before < literal(BYTES))))
    .returning(*ERASED)
)
_owned = upstream_resources.c
_some_owned = (
    select(_owned.name, _owned.upstream, _owned.credential)
    .where(_owned.project_id == bindparam("project"))
    .limit(literal(ROWS))
)
_OWNED = _some_owned.with_for_update()
_DISOWN = delete(upstream_resources).where(
    *(_owned[name] == bindparam(f"its_{name}") for name in ("name", "upstream", "credential"))
)
_PROJECT = select(projects.c.deleted_at).where(projects.c.id == bindparam("project")).with_for_update()
_VOID = update(projects).where(projects.c.id == bindparam("which")).values(deleted_at=now())
_REVOKE = (
    update(api_keys)
    .where(api_keys.c.project_id == bindparam("project"), api_keys.c.revoked_at.is_(None))
    .values(revoked_at=now())
)
_LEFT = select(interactions.c.id).where(_mine).limit(1)
_DELETE = delete(projects).where(projects.c.id == bindparam("project"))


def _begin(connection: Connection, batch: Sequence[tuple[str, Entry]]) -> Sequence[Begun]:
    return [_begun(connection, project_id, entry) for project_id, entry in batch]


def _begun(connection: Connection, project_id: str, entry: Entry) -> Begun:
    found = connection.execute(_PROJECT, {"project": project_id}).first()
    if found is None:
        return Begun.ABSENT
    if any_in(connection, project_id):
        return Begun.HELD
    if found.deleted_at is None:
        connection.execute(_VOID, {"which": project_id})
        connection.execute(_REVOKE, {"project": project_id})
        announce(connection, REVOKED)
        append(connection, [entry])
    return Begun.GOING


def _some(connection: Connection, batch: Sequence[str]) -> Sequence[int]:
    return [_erased(connection, project_id) for project_id in batch]


def _erased(connection: Connection, project_id: str) -> int:
    chosen: dict[str, Any] = {"project": project_id}
    gone = connection.execute(_ERASE, chosen).all()
    follow(connection, gone)
    owned = connection.execute(_OWNED, chosen).all()
    if owned:
        leave(connection, (Leftover(row.upstream, row.credential, row.name) for row in owned))
        connection.execute(
            _DISOWN, [{f"its_{name}": value for name, value in row._mapping.items()} for row in owned]
        )
    return len(gone) + len(owned)


def _end(connection: Connection, batch: Sequence[str]) -> Sequence[bool]:
    return [_ended(connection, project_id) for project_id in batch]


def _ended(connection: Connection, project_id: str) -> bool:
    """Delete the project; who writes something of it just now comes first, or does not find it."""
    chosen = {"project": project_id}
    connection.execute(_PROJECT, chosen).first()
    if any(connection.execute(query, chosen).first() for query in (_LEFT, _some_owned)):
        return False
    connection.execute(_DELETE, chosen)
    return True
