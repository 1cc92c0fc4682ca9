"""A restored backup: what was under way when it was made may still be, in the gateway it was taken from."""

from sqlalchemy import Connection, delete, select, update

from app.core import status
from app.store.schema import interaction_events, interactions, webhook_deliveries

_UNDER_WAY = interactions.c.lease_until.is_not(None)
_END = (
    update(interactions)
    .where(_UNDER_WAY)
    .values(
        status=status.FAILED,
        error=b'{"code":"aborted","message":"This is a restored copy of an interaction that was under way."}',
        attempt=interactions.c.attempt + 1,
        owner=None,
        lease_until=None,
        last_seq=0,
    )
)


def end_all(connection: Connection) -> int:
    """End whatever was under way, and forget what was to be delivered, so that nothing happens twice.

    Returns how many interactions that were. What they had said by then goes with their logs.
    """
    of_these = select(interactions.c.id).where(_UNDER_WAY)
    connection.execute(delete(interaction_events).where(interaction_events.c.interaction_id.in_(of_these)))
    connection.execute(delete(webhook_deliveries))
    return connection.execute(_END).rowcount
