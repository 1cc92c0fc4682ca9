"""Reservations: what calls that go on may take of budgets, by call and budget.

While its call goes on a reservation has a time from which on it is an orphan's, unless the call is a
run, whose row tells. When the call ends the reservation becomes what was spent, in the same transaction,
and waits for being added to the period. Of a call that was made and whose usage nobody knows, it becomes
that as it is.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, bindparam, case, delete, exists, func, select, update

from app.core.budget import TOKENS
from app.store.clock import moment
from app.store.schema import budgets, interactions, reservations, usage_ledger

SETTLED = 0
"""What `expires_at` says of a reservation whose call has ended."""

_AT_ONCE = 500


def settle(connection: Connection, calls: Sequence[tuple[str, int, int]]) -> None:
    """End reservations in the caller's transaction: call, tokens and cost of each."""
    if calls:
        names = ("call", "used_tokens", "used_money")
        connection.execute(_SETTLE, [dict(zip(names, call, strict=True)) for call in calls])


def settle_as_reserved(connection: Connection, calls: Sequence[str]) -> None:
    """End the reservations of calls whose usage nobody knows: what was reserved is taken to be spent."""
    if calls:
        connection.execute(_SETTLE_AS_RESERVED, [{"call": call_id} for call_id in calls])


def release(connection: Connection, batch: Sequence[str]) -> Sequence[None]:
    """Give up what was reserved for these calls, unless they have ended."""
    connection.execute(_RELEASE, [{"call": call_id} for call_id in batch])
    return [None] * len(batch)


def expire(connection: Connection, batch: Sequence[None]) -> Sequence[bool]:
    """Give up what calls have reserved whose process died; False when there is no more of it.

    What the ledger knows of has been made: that is spent.
    """
    orphans = sorted(connection.scalars(_ORPHANS).all())
    if orphans:
        made = set(connection.scalars(_MADE, {"calls": orphans}))
        settle_as_reserved(connection, sorted(made))
        if never := [call_id for call_id in orphans if call_id not in made]:
            release(connection, never)
    return [len(orphans) == _AT_ONCE] * len(batch)


_open = reservations.c.expires_at != SETTLED
_unit = select(budgets.c.unit).where(budgets.c.id == reservations.c.budget_id).scalar_subquery()
_amount = reservations.c.amount.type
_SETTLE = (
    update(reservations)
    .where(reservations.c.call_id == bindparam("call"), _open)
    .values(
        amount=case(
            (_unit == TOKENS, bindparam("used_tokens", type_=_amount)),
            else_=bindparam("used_money", type_=_amount),
        ),
        expires_at=SETTLED,
    )
)
_SETTLE_AS_RESERVED = (
    update(reservations).where(reservations.c.call_id == bindparam("call"), _open).values(expires_at=SETTLED)
)
_RELEASE = delete(reservations).where(reservations.c.call_id == bindparam("call"), _open)
_running = exists().where(
    interactions.c.id == reservations.c.call_id, interactions.c.lease_until.is_not(None)
)
_ORPHANS = (
    select(reservations.c.call_id)
    .where(_open, reservations.c.expires_at <= moment(), ~_running)
    .distinct()
    .limit(_AT_ONCE)
)
_MADE = select(usage_ledger.c.call_id).where(usage_ledger.c.call_id.in_(bindparam("calls", expanding=True)))


_these = reservations.c.budget_id.in_(bindparam("ids", expanding=True))
ENDED = (
    delete(reservations)
    .where(_these, reservations.c.expires_at == SETTLED)
    .returning(reservations.c.budget_id, reservations.c.starts_at, reservations.c.amount)
)
"""Take out what has been settled, to add it to its period. Under the budgets' locks."""
HELD = (
    select(
        reservations.c.budget_id, reservations.c.starts_at, func.sum(reservations.c.amount).label("amount")
    )
    .where(_these)
    .group_by(reservations.c.budget_id, reservations.c.starts_at)
)
"""What is reserved, or settled and not added yet."""
