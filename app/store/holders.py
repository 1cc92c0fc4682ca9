"""Who a key or a token belongs to: what authentication asks, by digest.

While the pepper is changed a digest has several versions. What is found under the previous one is
moved to the current one, in the background: whoever asks does not wait for that.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from sqlalchemy import ColumnElement, Connection, Row, Select, Table, bindparam, or_, select, update

from app.core import rules
from app.core.policy import FREE, Policy
from app.core.versions import Versions
from app.store.clock import now
from app.store.database import Database
from app.store.keys import AlreadyExists, Keys, Project
from app.store.schema import admin_tokens, api_keys, projects
from app.store.tokens import Token

OWN_KEY = "byok_"
"""How the names of projects begin that are a caller's own upstream key."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who a valid key belongs to, and under which policies it stands.

    `key_id` is None where the project is the key (passthrough).
    """

    project_id: str
    key_id: str | None
    retention_days: int | None
    key_name: str | None = None
    project_policy: Policy = FREE
    key_policy: Policy = FREE


class _Move(NamedTuple):
    table: Table
    id: str
    values: Mapping[str, Any]


class Holders:
    """Finds holders; `pepper` is the fingerprint of the current one."""

    def __init__(self, database: Database, pepper: bytes) -> None:
        self._database = database
        self._keys = Keys(database)
        self._pepper = pepper

    async def of_key(self, digests: Versions[bytes]) -> Holder | None:
        """Who the key with this digest belongs to, unless it is unknown, revoked or expired."""
        row = await self._first(_KEY, digests.all())
        if row is None:
            return None
        self._keep_up(api_keys, row, digests)
        policies = {name: _policy(getattr(row, name)) for name in ("project_policy", "key_policy")}
        return Holder(row.project_id, row.id, row.retention_days, row.name, **policies)

    async def of_token(self, digests: Versions[bytes]) -> Token | None:
        """The token with this digest, unless it is unknown, revoked or expired."""
        row = await self._first(_TOKEN, digests.all())
        if row is None:
            return None
        self._keep_up(admin_tokens, row, digests)
        return Token(*(getattr(row, name) for name in Token.__slots__))

    async def passthrough(self, digests: Versions[bytes]) -> Holder:
        """The project of a caller's own upstream key, made when it is first seen.

        Its name is the digest; so is its id, with the pepper of the day on which it was made.
        """
        names = digests.map(lambda digest: OWN_KEY + digest.hex()[:32])
        row = await self._first(_PROJECT, names.all(), lambda row: names.index(row.name))
        if row is None:
            made = Project(names.current, names.current, time.time_ns() // 1_000_000, None)
            with contextlib.suppress(AlreadyExists):
                await self._keys.create_project(made)
            self._move(projects, made.id, {"pepper": self._pepper})
            return Holder(made.id, None, None)
        if row.pepper != self._pepper and row.name in names[:2]:
            self._move(projects, row.id, {"name": names.current, "pepper": self._pepper})
        return Holder(row.id, None, row.retention_days, project_policy=_policy(row.policy))

    async def _first(
        self, query: Select[Any], found: Sequence[object], order: Callable[[Row[Any]], int] = lambda _: 0
    ) -> Row[Any] | None:
        """What is found; where that is more than one, as only names can be, the first in this order."""
        rows = await self._database.read(lambda connection: connection.execute(query, {"found": found}).all())
        return min(rows, key=order, default=None)

    def _keep_up(self, table: Table, row: Row[Any], digests: Versions[bytes]) -> None:
        if row.pepper != self._pepper and bytes(row.digest) in digests[:2]:
            self._move(table, row.id, {"digest": digests.current, "pepper": self._pepper})

    def _move(self, table: Table, record: str, values: Mapping[str, Any]) -> None:
        """Have it hang on the current pepper; if that fails, it is tried again the next time."""
        self._database.write(_moved, _Move(table, record, values)).add_done_callback(_looked_at)


def _unless_expired(expires_at: ColumnElement[Any]) -> ColumnElement[bool]:
    return or_(expires_at.is_(None), expires_at > now())


_KEY = (
    select(
        *(api_keys.c[name] for name in ("id", "project_id", "name", "digest", "pepper")),
        projects.c.retention_days,
        projects.c.policy.label("project_policy"),
        api_keys.c.policy.label("key_policy"),
    )
    .join(projects)
    .where(
        api_keys.c.digest.in_(bindparam("found", expanding=True)),
        api_keys.c.revoked_at.is_(None),
        _unless_expired(api_keys.c.expires_at),
        projects.c.deleted_at.is_(None),
    )
)
_TOKEN = select(admin_tokens).where(
    admin_tokens.c.digest.in_(bindparam("found", expanding=True)),
    admin_tokens.c.revoked_at.is_(None),
    _unless_expired(admin_tokens.c.expires_at),
)
_PROJECT = select(projects).where(
    projects.c.name.in_(bindparam("found", expanding=True)), projects.c.deleted_at.is_(None)
)


def _policy(text: bytes | None) -> Policy:
    return FREE if text is None else rules.read(orjson.loads(text))


def _moved(connection: Connection, batch: Sequence[_Move]) -> Sequence[None]:
    for move in batch:
        connection.execute(update(move.table).where(move.table.c.id == move.id).values(**move.values))
    return [None] * len(batch)


def _looked_at(done: "asyncio.Future[None]") -> None:
    if not done.cancelled():
        done.exception()
