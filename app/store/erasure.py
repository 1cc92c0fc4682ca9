"""Erasure: which interactions may go, and how they go, with everything of them.

By the clock of the conversation those go that nothing stored continues, and with them, level by
level, the ancestors that this frees. What only records that something ran continues nothing.
What is held (app/store/holds.py) goes in no case.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal,
    select,
    true,
    tuple_,
)
from sqlalchemy.sql.dml import ReturningDelete

from app.core import status
from app.store import ledger, leftovers
from app.store.clock import moment
from app.store.holds import held, settle
from app.store.schema import interactions
from app.store.webhooks import erase_deliveries

ROWS = 500
BYTES = 32 << 20
"""What one transaction may cost others that wait for it."""

_GRACE_MS = 300_000
"""Who has just read a parent that expires now still has to write the child that will hold it."""


class Position(NamedTuple):
    """A place in the order in which interactions expire."""

    expires_at: int
    id: str


START = Position(-1 << 62, "")
"""Before everything that has ever expired."""

ERASED = (*leftovers.ERASED, *ledger.CALLED)
"""What `follow` must know of an interaction: the columns for RETURNING."""


def ended(row: FromClause) -> ColumnElement[bool]:
    """It does not run, and never will again."""
    return row.c.status.not_in((status.QUEUED, status.IN_PROGRESS))


def unlocked(*conditions: ColumnElement[bool]) -> Select[Any]:
    """Such interactions, without those that others write just now: who waits for none is in no deadlock."""
    return select(interactions.c.id).where(*conditions).with_for_update(skip_locked=True)


def over(row: FromClause) -> list[ColumnElement[bool]]:
    """It has expired and does not run."""
    return [row.c.expires_at <= moment() - _GRACE_MS, ended(row)]


def continued(row: FromClause, besides: ColumnElement[str] | None = None) -> ColumnElement[bool]:
    """Something continues it; what is not stored does not, for nothing can continue that in turn."""
    child = interactions.alias()
    found = exists().where(child.c.parent_id == row.c.id, child.c.store)
    return found if besides is None else found.where(child.c.id != besides)


def expired(after: Position, *, by_conversation: bool) -> Select[Any]:
    """The next of what has expired, each with whether nothing continues it."""
    row = interactions.c
    # First the page, then a look at each of its rows: not a look at all rows before there is a page.
    page = (
        select(*(row[name] for name in ("id", "expires_at", "root_id", "key_id", "project_id")))
        .where(*over(interactions), tuple_(row.expires_at, row.id) > tuple_(*map(literal, after)))
        .order_by(row.expires_at, row.id)
        .limit(ROWS)
    ).subquery()
    free = and_(~continued(page) if by_conversation else true(), ~held(page))
    return select(page.c.id, page.c.expires_at, free.label("free")).order_by(page.c.expires_at, page.c.id)


def _doomed(*, by_conversation: bool) -> CTE:
    """These interactions, and level by level above them the ancestors that nothing else continues."""
    leaf, above = interactions.alias("leaf"), interactions.alias("above")
    chosen = select(leaf.c.id, leaf.c.parent_id, literal(1).label("level")).where(
        leaf.c.id.in_(bindparam("ids", expanding=True)), *over(leaf), ~held(leaf)
    )
    if not by_conversation:
        return chosen.cte("doomed")
    doomed = chosen.where(~continued(leaf)).cte("doomed", recursive=True)
    return doomed.union(
        select(above.c.id, above.c.parent_id, doomed.c.level + 1)
        .join(doomed, doomed.c.parent_id == above.c.id)
        .where(
            doomed.c.level < bindparam("levels"),
            *over(above),
            ~continued(above, doomed.c.id),
            ~held(above),
        )
    )


_CONTENT = ("options", "input", "output", "details")


def _erasure(doomed: CTE) -> ReturningDelete[Any]:
    """Erase the doomed, descendants first, until they are many bytes; one at least."""
    content = interactions.alias("content")
    size = sum((func.coalesce(func.length(content.c[name]), 0) for name in _CONTENT), start=literal(0))
    before = func.sum(size).over(order_by=(doomed.c.level, doomed.c.id)) - size
    sized = select(doomed.c.id, before.label("before")).join(content, content.c.id == doomed.c.id).subquery()
    some = select(sized.c.id).where(sized.c.before < BYTES)
    return (
        delete(interactions)
        .where(interactions.c.id.in_(unlocked(interactions.c.id.in_(some))))
        .returning(*ERASED, interactions.c.parent_id)
    )


ERASE_CONVERSATIONS = _erasure(_doomed(by_conversation=True))
ERASE_INTERACTIONS = _erasure(_doomed(by_conversation=False))


def erase(
    connection: Connection, batch: Sequence[tuple[ReturningDelete[Any], Sequence[str]]]
) -> Sequence[Sequence[Row[Any]]]:
    """Erase some of these by one of the two statements, and leave nothing of them elsewhere."""
    done = []
    for statement, ids in batch:
        settle(connection, select(interactions.c.project_id).where(interactions.c.id.in_(ids)))
        chosen = {"ids": ids, "levels": max(1, ROWS // len(ids))}
        erased = connection.execute(statement, chosen).all()
        follow(connection, erased)
        done.append(erased)
    return done


def follow(connection: Connection, erased: Sequence[Row[Any]]) -> None:
    """What goes with interactions that this transaction erases: what others keep, or have yet to be told."""
    leftovers.leave_of(connection, erased)
    ledger.leave_open(connection, erased)
    erase_deliveries(connection, [row.id for row in erased])
