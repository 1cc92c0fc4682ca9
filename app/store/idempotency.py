"""Idempotency keys: which interaction a project's `Idempotency-Key` stands for.

A key is claimed in the transaction that inserts its interaction, so either both exist or neither.
"""

from typing import NamedTuple

from sqlalchemy import Connection, and_, bindparam, exists, select, update
from sqlalchemy.dialects import postgresql, sqlite

from app.store.clock import now
from app.store.schema import idempotency_keys, interactions


class Existing(NamedTuple):
    """The interaction that has the key already, and the fingerprint of the request that made it."""

    interaction_id: str
    fingerprint: bytes


class Once(NamedTuple):
    """A request that is to be executed only once: its key, what tells its body, and for how long."""

    key: str
    fingerprint: bytes
    ttl_ms: int


def claim(
    connection: Connection, project_id: str, key: str, fingerprint: bytes, interaction_id: str, ttl_ms: int
) -> Existing | None:
    """Take a key for a new interaction, for so long; what has it already, if it is taken.

    A key that has expired, or whose interaction is gone, is free again. The interaction has to be
    inserted in the same transaction, before the next claim: until then this one looks abandoned. Who
    claims several keys in one transaction does so in their order, or two processes wait for each other.
    """
    entry = {"project": project_id, "name": key, "text": fingerprint, "run": interaction_id, "ttl": ttl_ms}
    statement = _CLAIM[connection.dialect.name]
    while True:
        if connection.execute(statement, entry).first() is not None:
            return None
        found = connection.execute(_LOCK, entry).first()
        if found is not None:
            break
        # It has been swept away just now.
    alive = connection.execute(_EXISTS, {"run": found.interaction_id}).scalar_one()
    if found.valid and alive:
        return Existing(found.interaction_id, bytes(found.fingerprint))
    connection.execute(_TAKE_OVER, entry)
    return None


_VALUES = {
    "fingerprint": bindparam("text"),
    "interaction_id": bindparam("run"),
    "expires_at": now() + bindparam("ttl"),
}
_NEW = {"project_id": bindparam("project"), "key": bindparam("name"), **_VALUES}
_CLAIM = {
    dialect.dialect.name: dialect.insert(idempotency_keys)
    .values(_NEW)
    .on_conflict_do_nothing()
    .returning(idempotency_keys.c.key)
    for dialect in (postgresql, sqlite)
}
_ENTRY = and_(
    idempotency_keys.c.project_id == bindparam("project"), idempotency_keys.c.key == bindparam("name")
)
# Three statements, not one: each sees what was committed while the one before it had to wait. Nobody
# else can take the entry over meanwhile, because it is locked.
_LOCK = (
    select(
        idempotency_keys.c.interaction_id,
        idempotency_keys.c.fingerprint,
        (idempotency_keys.c.expires_at > now()).label("valid"),
    )
    .where(_ENTRY)
    .with_for_update()
)
_EXISTS = select(exists().where(interactions.c.id == bindparam("run")))
_TAKE_OVER = update(idempotency_keys).where(_ENTRY).values(_VALUES)
