"""Projects and their keys. A key itself is never here: only its prefix and its digest."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    case,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from app.core import rules
from app.core.audit import Entry
from app.core.listing import ALL, Span
from app.core.policy import FREE, Policy
from app.core.versions import Digest, Versions
from app.store import audit
from app.store.clock import now
from app.store.database import Database
from app.store.notices import REVOKED, announce
from app.store.pages import page
from app.store.schema import api_keys, projects


@dataclass(frozen=True, slots=True)
class Project:
    """A tenant. `retention_days` overrides the setting; 0 keeps no content."""

    id: str
    name: str
    created_at: int
    retention_days: int | None
    owner: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    policy: Policy = FREE


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a project, without the key."""

    id: str
    project_id: str
    project: str
    name: str
    prefix: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    owner: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    policy: Policy = FREE


ProjectChange = Callable[[Project], tuple[Project, Entry]]
"""What becomes of a project, and what the audit log says of it."""
KeyChange = Callable[[Key], tuple[Key, Entry]]


class NewKey(NamedTuple):
    """A key to be stored, and what the audit log says of it."""

    key: Key
    digest: Digest
    entry: Entry | None = None


class AlreadyExists(Exception):
    """There is one of that name already."""


class Keys:
    """Reads and writes projects and keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create_project(self, project: Project, entry: Entry | None = None) -> None:
        """Raises AlreadyExists when the name or the id is taken."""
        try:
            await self._database.write(_insert_project, (project, entry))
        except IntegrityError as error:
            raise AlreadyExists(project.name) from error

    def change_project(self, name: str, change: ProjectChange) -> "asyncio.Future[Project | None]":
        """Change the project of this name or id; None when there is none.

        What `change` raises is raised here, and nothing is changed.
        """
        return self._database.write(_change_project, (name, change))

    async def projects(self, span: Span = ALL) -> list[Project]:
        """Projects, by name."""
        query = page(_PROJECT, [projects.c.name], span)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [_project(row) for row in rows]

    async def project(self, name: str) -> Project | None:
        """The project of this name or id."""
        query = _PROJECT.where(_called(name))
        row = await self._database.read(lambda connection: connection.execute(query).first())
        return _project(row) if row is not None else None

    async def create(self, key: Key, digest: Digest, entry: Entry | None = None) -> None:
        """Store a new key's digest."""
        await self._database.write(_insert_key, NewKey(key, digest, entry))

    def change(self, key_id: str, change: KeyChange) -> "asyncio.Future[Key | None]":
        """Change a key that has not been revoked, as `change_project` does a project."""
        return self._database.write(_change_key, (key_id, change))

    def rotate(
        self, key_id: str, grace_ms: int, successor: Callable[[Key], NewKey]
    ) -> "asyncio.Future[Key | None]":
        """Store a valid key's successor, and end the key so much later; None when it is not valid."""
        return self._database.write(_rotate, (key_id, grace_ms, successor))

    def revoke(self, key_id: str, told: Callable[[Key], Entry] | None = None) -> "asyncio.Future[bool]":
        """End a key's validity now; False when there is no key that is not revoked."""
        return self._database.write(_revoke, (key_id, told))

    async def issued(self, project_id: str | None = None, span: Span = ALL) -> list[Key]:
        """Keys of a project, or of all, oldest first; revoked ones too."""
        query = page(_KEY, [api_keys.c.created_at, api_keys.c.id], span)
        if project_id is not None:
            query = query.where(api_keys.c.project_id == project_id)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [_key(row) for row in rows]

    async def identify(self, digests: Versions[bytes]) -> Key | None:
        """The key with this digest, also when it is not valid any more."""
        query = _KEY.where(api_keys.c.digest.in_(digests.all()))
        row = await self._database.read(lambda connection: connection.execute(query).first())
        return _key(row) if row is not None else None

    async def count(self) -> int:
        """How many keys there are, revoked ones included."""
        query = select(func.count()).select_from(api_keys)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one())


_PROJECT = select(
    *(
        projects.c[name]
        for name in ("id", "name", "created_at", "retention_days", "owner", "labels", "policy")
    )
).where(projects.c.deleted_at.is_(None))
_KEY = select(
    *(
        projects.c.name.label("project") if each.name == "project" else api_keys.c[each.name]
        for each in fields(Key)
    )
).join(projects)


def _called(name: str) -> ColumnElement[bool]:
    return or_(projects.c.name == name, projects.c.id == name)


def _project(row: Row[Any]) -> Project:
    return Project(**_read(row))


def _key(row: Row[Any]) -> Key:
    return Key(**_read(row))


def _read(row: Row[Any]) -> dict[str, Any]:
    """The fields of a project or a key; `_values` the other way round."""
    return {**row._mapping, "labels": orjson.loads(row.labels or b"{}"), "policy": _policy(row.policy)}


def _policy(text: bytes | None) -> Policy:
    return FREE if text is None else rules.read(orjson.loads(text))


def _values(record: Project | Key) -> dict[str, Any]:
    """The columns of a project or a key."""
    values = {each.name: getattr(record, each.name) for each in fields(record) if each.name != "project"}
    values["labels"] = orjson.dumps(dict(record.labels)) if record.labels else None
    values["policy"] = None if record.policy == FREE else orjson.dumps(rules.written(record.policy))
    return values


def _insert_project(connection: Connection, batch: Sequence[tuple[Project, Entry | None]]) -> Sequence[None]:
    connection.execute(insert(projects), [_values(project) for project, _ in batch])
    _tell(connection, [entry for _, entry in batch])
    return [None] * len(batch)


def _insert_key(connection: Connection, batch: Sequence[NewKey]) -> Sequence[None]:
    rows = [{**_values(new.key), "digest": new.digest.value, "pepper": new.digest.pepper} for new in batch]
    connection.execute(insert(api_keys), rows)
    _tell(connection, [new.entry for new in batch])
    return [None] * len(batch)


def _tell(connection: Connection, entries: Sequence[Entry | None]) -> None:
    if told := [entry for entry in entries if entry is not None]:
        audit.append(connection, told)


def _change_project(
    connection: Connection, batch: Sequence[tuple[str, ProjectChange]]
) -> Sequence[Project | None]:
    return [_changed_project(connection, name, change) for name, change in batch]


def _changed_project(connection: Connection, name: str, change: ProjectChange) -> Project | None:
    row = connection.execute(_PROJECT.where(_called(name)).with_for_update()).first()
    if row is None:
        return None
    changed, entry = change(_project(row))
    connection.execute(update(projects).where(projects.c.id == changed.id).values(_values(changed)))
    _tell(connection, [entry])
    announce(connection, REVOKED)
    return changed


def _change_key(connection: Connection, batch: Sequence[tuple[str, KeyChange]]) -> Sequence[Key | None]:
    return [_changed_key(connection, key_id, change) for key_id, change in batch]


def _changed_key(connection: Connection, key_id: str, change: KeyChange) -> Key | None:
    found = _unrevoked(connection, key_id)
    if found is None:
        return None
    changed, entry = change(found)
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(_values(changed)))
    _tell(connection, [entry])
    announce(connection, REVOKED)
    return changed


def _rotate(
    connection: Connection, batch: Sequence[tuple[str, int, Callable[[Key], NewKey]]]
) -> Sequence[Key | None]:
    return [_rotated(connection, *each) for each in batch]


def _rotated(
    connection: Connection, key_id: str, grace_ms: int, successor: Callable[[Key], NewKey]
) -> Key | None:
    expires_at, ends = api_keys.c.expires_at, now() + grace_ms
    valid = or_(expires_at.is_(None), expires_at > now())
    found = _unrevoked(connection, key_id, valid)
    if found is None:
        return None
    new = successor(found)
    sooner = case((and_(expires_at.is_not(None), expires_at < ends), expires_at), else_=ends)
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(expires_at=sooner))
    _insert_key(connection, [new])
    announce(connection, REVOKED)
    return new.key


def _revoke(
    connection: Connection, batch: Sequence[tuple[str, Callable[[Key], Entry] | None]]
) -> Sequence[bool]:
    return [_revoked(connection, *each) for each in batch]


def _revoked(connection: Connection, key_id: str, told: Callable[[Key], Entry] | None) -> bool:
    found = _unrevoked(connection, key_id)
    if found is None:
        return False
    connection.execute(update(api_keys).where(api_keys.c.id == key_id).values(revoked_at=now()))
    _tell(connection, [told(found) if told else None])
    announce(connection, REVOKED)
    return True


def _unrevoked(connection: Connection, key_id: str, *more: ColumnElement[bool]) -> Key | None:
    """A key to be changed: until the end of the transaction nobody else changes it."""
    query = _KEY.where(api_keys.c.id == key_id, api_keys.c.revoked_at.is_(None), *more)
    row = connection.execute(query.with_for_update(of=api_keys)).first()
    return _key(row) if row is not None else None
