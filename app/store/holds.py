"""Legal holds: what must not go, neither by expiry nor by a delete.

A hold covers an interaction, a conversation (everything below one root), what was made with a key,
or a whole project. Every statement that erases says `~held(...)`; `settle` before it makes sure
that it sees each hold that has been told to be in force.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
)

from app.core.audit import Entry
from app.core.listing import ALL, Span
from app.store.audit import append
from app.store.clock import now
from app.store.database import Database
from app.store.pages import page
from app.store.schema import api_keys, holds, interactions, projects

Kind = Literal["interaction", "conversation", "key", "project"]


@dataclass(frozen=True, slots=True)
class Hold:
    """What is held, why and since when; `target` is an id of the kind."""

    id: str
    project_id: str
    kind: Kind
    target: str
    reason: str
    created_at: int


@dataclass(frozen=True, slots=True)
class Placed:
    """A hold in force, and how many interactions it covers now; what is held is `known` to exist."""

    known: bool
    covered: int


class Holds:
    """Places, releases and lists holds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def place(self, hold: Hold, entry: Entry) -> "asyncio.Future[Placed]":
        """Hold something of a project, with the record of it; changes nothing where it is not known.

        A hold that is there already keeps its reason. What is counted stays until the release.
        """
        return self._database.write(_place, (hold, entry))

    def release(self, hold_id: str, told: Callable[[Hold], Entry]) -> "asyncio.Future[bool]":
        """End a hold, with what the audit log says of it; False when there is none of this id."""
        return self._database.write(_release, (hold_id, told))

    async def all(self, project_id: str | None = None, span: Span = ALL) -> list[Hold]:
        """The holds of a project, or of all, oldest first."""
        some = _HOLDS if project_id is None else _HOLDS.where(holds.c.project_id == project_id)
        query = page(some, [holds.c.created_at, holds.c.id], span)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [Hold(*row) for row in rows]


def held(row: FromClause) -> ColumnElement[bool]:
    """Something holds this interaction; of it the columns id, root_id, key_id and project_id are asked."""
    targets = {
        "interaction": row.c.id,
        "conversation": row.c.root_id,
        "key": row.c.key_id,
        "project": row.c.project_id,
    }
    return or_(
        *(
            exists().where(
                holds.c.project_id == row.c.project_id, holds.c.kind == kind, holds.c.target == target
            )
            for kind, target in targets.items()
        )
    )


def settle(connection: Connection, some: Select[Any]) -> None:
    """Let holds that are being placed on these projects come first, and others wait for this transaction.

    A statement does not see what is committed while it runs. On SQLite nothing else writes anyway.
    """
    if connection.dialect.name != "sqlite":
        lock = select(projects.c.id).where(projects.c.id.in_(some)).order_by(projects.c.id)
        connection.execute(lock.with_for_update(read=True)).all()


def any_in(connection: Connection, project_id: str) -> bool:
    """Whether anything in this project is held."""
    return connection.execute(_ANY, {"project": project_id}).first() is not None


_HOLDS = select(*(holds.c[name] for name in Hold.__slots__))
_ANY = select(holds.c.id).where(holds.c.project_id == bindparam("project")).limit(1)
_PROJECT = (
    select(projects.c.id)
    .where(projects.c.id == bindparam("project"), projects.c.deleted_at.is_(None))
    .with_for_update(key_share=True)
)
_SAME = select(holds.c.id).where(
    and_(*(holds.c[name] == bindparam(f"its_{name}") for name in ("project_id", "kind", "target")))
)
_RELEASE = (
    delete(holds)
    .where(holds.c.id == bindparam("hold"))
    .returning(*(holds.c[name] for name in Hold.__slots__))
)


def _of(column: ColumnElement[Any]) -> Callable[[Hold], Select[Any]]:
    return lambda hold: select(func.count()).where(
        interactions.c.project_id == hold.project_id, column == hold.target
    )


_COVERED = {
    "interaction": _of(interactions.c.id),
    "conversation": _of(interactions.c.root_id),
    "key": _of(interactions.c.key_id),
    "project": _of(interactions.c.project_id),
}


def _place(connection: Connection, batch: Sequence[tuple[Hold, Entry]]) -> Sequence[Placed]:
    return [_placed(connection, hold, entry) for hold, entry in batch]


def _placed(connection: Connection, hold: Hold, entry: Entry) -> Placed:
    if connection.execute(_PROJECT, {"project": hold.project_id}).first() is None:
        return Placed(known=False, covered=0)
    covered = connection.execute(_COVERED[hold.kind](hold)).scalar_one()
    if not (covered or hold.kind == "project" or _is_key(connection, hold)):
        return Placed(known=False, covered=0)
    same = {f"its_{name}": getattr(hold, name) for name in ("project_id", "kind", "target")}
    if connection.execute(_SAME, same).first() is None:
        fields = {name: getattr(hold, name) for name in Hold.__slots__ if name != "created_at"}
        connection.execute(insert(holds).values(created_at=now(), **fields))
    append(connection, [entry])
    return Placed(known=True, covered=covered)


def _is_key(connection: Connection, hold: Hold) -> bool:
    mine = select(api_keys.c.id).where(api_keys.c.project_id == hold.project_id, api_keys.c.id == hold.target)
    return hold.kind == "key" and connection.execute(mine).first() is not None


def _release(connection: Connection, batch: Sequence[tuple[str, Callable[[Hold], Entry]]]) -> Sequence[bool]:
    released = []
    for hold_id, told in batch:
        gone = connection.execute(_RELEASE, {"hold": hold_id}).all()
        append(connection, [told(Hold(*row)) for row in gone])
        released.append(bool(gone))
    return released
