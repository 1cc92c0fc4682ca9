"""Projects and their keys: who may ask, and under which policy."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from app import ids
from app.admin import fields
from app.admin.operations import Absent, OperationError, Operations
from app.admin.peppers import Peppers
from app.auth import keys, pepper
from app.core.audit import GATEWAY, Actor, Entry
from app.core.listing import ALL, Span
from app.core.model import Json
from app.core.versions import Digest
from app.settings import Settings
from app.store.audit import Audit
from app.store.database import Database
from app.store.keys import AlreadyExists, Key, Keys, Project
from app.store.keys import NewKey as StoredKey

T = TypeVar("T", Project, Key)

_FIRST_PROJECT = "default"
_DAY_MS = 86_400_000
_LONGEST_GRACE_MS = 90 * _DAY_MS


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that has just been made: the only time that it is whole."""

    id: str
    project: str
    key: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose a key is; `state` is valid, revoked or expired."""

    id: str
    project_id: str
    project: str
    name: str
    owner: str | None
    labels: Mapping[str, str]
    state: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None


class Teams:
    """What an operator can do with projects and keys.

    Every change, and every look at what a secret is or whose, is one record in the audit log.
    """

    def __init__(self, settings: Settings, database: Database, actor: Actor) -> None:
        self._settings = settings
        self._gateway = Operations(settings, database)
        self._keys = Keys(database)
        self._audit = Audit(database)
        self._peppers = Peppers(settings, database, actor)
        self._actor = actor

    async def first_key(self) -> NewKey | None:
        """A project and a key on the very first start; None when there are keys already."""
        if self._settings.auth != "keys" or await self._keys.count():
            return None
        if await self._keys.project(_FIRST_PROJECT) is None:
            try:
                await self.create_project(_FIRST_PROJECT)
            except OperationError:
                return None  # a process that started together with this one makes the key, too
        return await self.create_key(_FIRST_PROJECT, "first")

    async def projects(self, span: Span = ALL) -> list[Project]:
        """All projects, by name."""
        return await self._keys.projects(span)

    async def webhook_secret(self, project: str) -> str:
        """What receivers verify the webhooks of a project with."""
        found = await self._gateway.project(project)
        await self._audit.write(Entry(found.id, self._actor, "project.webhook_secret", found.id))
        secret = pepper.webhook_secret(pepper.load(self._settings).current, found.id)
        return pepper.shown_webhook_secret(secret)

    async def create_project(self, name: str, given: Json | None = None) -> Project:
        """A new tenant."""
        project = Project(ids.new_id("prj"), fields.named("project", name), _now(), None)
        project = fields.changed(project, given or {})
        details = {"after": fields.told(project)}
        entry = Entry(project.id, self._actor, "project.create", project.id, details=details)
        try:
            await self._keys.create_project(project, entry)
        except AlreadyExists:
            raise OperationError(f"There is a project '{name}' already.") from None
        return project

    async def set_project(self, project: str, changes: Json) -> Project:
        """Change a project; its keys follow in every process within seconds."""

        def change(before: Project) -> tuple[Project, Entry]:
            after = fields.changed(before, changes)
            return after, self._changed("project.set", before.id, before, after)

        found = await self._keys.change_project(project, change)
        return found or await self._gateway.project(project)

    async def keys(self, project: str | None = None, span: Span = ALL) -> list[Key]:
        """The keys of a project, or of all; without the keys themselves."""
        return await self._keys.issued(await self._gateway.project_id(project), span)

    async def create_key(self, project: str, name: str, given: Json | None = None) -> NewKey:
        """A new key of a project."""
        await self._peppers.check()
        found = await self._gateway.project(project)
        key = keys.new_key()
        record = Key(
            id=ids.new_id("key"),
            project_id=found.id,
            project=found.name,
            name=fields.named("key", name),
            prefix=keys.shown(key),
            created_at=_now(),
            expires_at=None,
            revoked_at=None,
        )
        record = fields.changed(record, given or {})
        entry = Entry(found.id, self._actor, "key.create", record.id, details={"after": fields.told(record)})
        await self._keys.create(record, self._digest(key), entry)
        return NewKey(record.id, found.name, key)

    async def set_key(self, key_id: str, changes: Json) -> Key:
        """Change a key, in every process within seconds."""

        def change(before: Key) -> tuple[Key, Entry]:
            after = fields.changed(before, changes)
            return after, self._changed("key.set", before.project_id, before, after)

        found = await self._keys.change(key_id, change)
        if found is None:
            raise _no_key(key_id)
        return found

    async def rotate_key(self, key_id: str, grace_ms: int) -> NewKey:
        """A new key with the same settings; the old one ends after the grace period."""
        if not 0 <= grace_ms <= _LONGEST_GRACE_MS:
            raise OperationError(f"The grace period is at most {_LONGEST_GRACE_MS // _DAY_MS} days.")
        await self._peppers.check()
        key = keys.new_key()

        def successor(old: Key) -> StoredKey:
            new = replace(old, id=ids.new_id("key"), prefix=keys.shown(key), created_at=_now())
            details = {"successor": new.id, "grace_ms": grace_ms}
            entry = Entry(old.project_id, self._actor, "key.rotate", old.id, details=details)
            return StoredKey(new, self._digest(key), entry)

        found = await self._keys.rotate(key_id, grace_ms, successor)
        if found is None:
            raise _no_key(key_id)
        return NewKey(found.id, found.project, key)

    async def revoke_key(self, key_id: str) -> None:
        """End a key's validity, in every process within seconds; what runs already goes on."""

        def told(key: Key) -> Entry:
            return Entry(key.project_id, self._actor, "key.revoke", key.id)

        if not await self._keys.revoke(key_id, told):
            raise _no_key(key_id)

    async def identify(self, key: str) -> Identity:
        """Whose key this is, valid or not; the key itself is neither stored nor logged."""
        if not keys.is_key(key):
            raise OperationError("This is no key of an Interactions Gateway.")
        await self._peppers.check()
        peppers = pepper.load(self._settings)
        found = await self._keys.identify(peppers.map(lambda each: keys.digest(each, key)))
        if found is None:
            await self._audit.write(Entry(GATEWAY, self._actor, "key.identify", None, "not_found"))
            raise Absent("This key was not made here.")
        await self._audit.write(Entry(found.project_id, self._actor, "key.identify", found.id))
        names = (field for field in Identity.__slots__ if field != "state")
        return Identity(state=_state(found), **{name: getattr(found, name) for name in names})

    def _digest(self, key: str) -> Digest:
        return pepper.digest(pepper.load(self._settings), key)

    def _changed(self, action: str, project_id: str, before: T, after: T) -> Entry:
        old, new = fields.told(before), fields.told(after)
        names = [name for name in new if old[name] != new[name]]
        details = {
            "before": {name: old[name] for name in names},
            "after": {name: new[name] for name in names},
        }
        return Entry(project_id, self._actor, action, before.id, details=details)


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= _now() else "valid"


def _no_key(key_id: str) -> Absent:
    return Absent(f"There is no valid key '{key_id}'.")


def _now() -> int:
    return time.time_ns() // 1_000_000
