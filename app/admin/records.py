"""Records: what is stored of interactions is shown, exported, held, deleted, and when it is due.

Who reads content stands in the audit log before it is told any.
"""

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from app import ids
from app.admin.folder import Folder, Manifest
from app.admin.operations import Absent, OperationError, Operations
from app.core.audit import Actor, Entry
from app.core.listing import Query
from app.core.model import Interaction, Json
from app.settings import Settings
from app.store.audit import Audit
from app.store.database import Database
from app.store.departure import Begun, Departure
from app.store.export import Choice, Export, Exported, Place
from app.store.holds import Hold, Holds, Kind
from app.store.interactions import Held, Interactions
from app.store.keys import Project
from app.store.listing import Listing
from app.store.retention import Due, Retention
from app.wire import steps as wire_steps

_READ_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class Covered:
    """A hold in force, and how many interactions it covers now."""

    project: str
    kind: Kind
    target: str
    reason: str
    interactions: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """A project that is gone, and how much of it there was."""

    id: str
    project: str
    erased: int


class Records:
    """What an operator can do with stored interactions."""

    def __init__(self, settings: Settings, database: Database, actor: Actor) -> None:
        self._gateway = Operations(settings, database)
        self._actor = actor
        self._audit = Audit(database)
        self._interactions = Interactions(database)
        self._listing = Listing(database)
        self._export = Export(database)
        self._holds = Holds(database)
        self._departure = Departure(database)
        self._retention = Retention(database, settings.retention.clock, 0)

    async def newest(self, project: str, limit: int) -> list[Interaction]:
        """A project's newest interactions."""
        found = await self._gateway.project(project)
        await self._audit.write(Entry(found.id, self._actor, "interaction.list", None))
        return await self._interactions.newest(found.id, limit)

    async def page(self, project: str, asked: Query) -> list[Interaction]:
        """A page of a project's interactions, newest first and without their content."""
        found = await self._gateway.project(project)
        await self._audit.write(Entry(found.id, self._actor, "interaction.list", None))
        return await self._listing.page(found.id, asked)

    async def get(self, project: str, interaction_id: str) -> Interaction:
        """One interaction of a project."""
        owner = await self._gateway.project(project)
        found = await self._interactions.get(owner.id, interaction_id)
        if found is None:
            raise _absent(project, interaction_id)
        await self._audit.write(Entry(owner.id, self._actor, "interaction.get", interaction_id))
        return found

    async def delete(self, project: str, interaction_id: str) -> None:
        """Erase an interaction of a project, unless it is held."""
        owner = await self._gateway.project(project)
        entry = Entry(owner.id, self._actor, "interaction.delete", interaction_id)
        try:
            deleted = await self._interactions.delete(owner.id, interaction_id, entry)
        except Held:
            raise OperationError(f"{interaction_id} is held: see `gateway interactions holds`.") from None
        if not deleted:
            raise _absent(project, interaction_id)

    async def export(self, project: str, filters: Json, folder: Path) -> Manifest:
        """Write what the filters choose into a folder, or go on where that was broken off."""
        owner = await self._gateway.project(project)
        asked = {"project_id": owner.id, **filters, "until": filters.get("until") or _now()}
        target = Folder.open(folder, asked, free="until" if filters.get("until") is None else "")
        if not target.manifest.complete:
            await self._audit.write(
                Entry(owner.id, self._actor, "interaction.export", owner.id, details=asked)
            )
            await self._write(_choice(target.manifest.filters), target)
        return target.manifest

    async def _write(self, choice: Choice, target: Folder) -> None:
        cursor = target.manifest.cursor
        after = (cursor[0], cursor[1]) if cursor is not None else None
        while places := await self._export.places(choice, after):
            async for exported in self._read(places):
                target.add(_line(exported), [exported.interaction.created_at, exported.interaction.id])
            after = (places[-1].created_at, places[-1].id)
        target.close([*after] if after is not None else None, complete=True)

    async def _read(self, places: Sequence[Place]) -> AsyncIterator[Exported]:
        """These interactions, of which not too many bytes are in memory at a time."""
        some: list[Place] = []
        for place in places:
            if some and sum(each.size for each in some) + place.size > _READ_BYTES:
                for exported in await self._export.read(some):
                    yield exported
                some = []
            some.append(place)
        for exported in await self._export.read(some):
            yield exported

    async def hold(self, project: str, kind: Kind, target: str | None, reason: str) -> Covered:
        """Keep something of a project from expiring and from being deleted."""
        owner = await self._gateway.project(project)
        target = owner.id if kind == "project" else target
        if not target or not reason.strip():
            raise OperationError("A hold needs something to hold, and a reason.")
        facts = {"kind": kind, "reason": reason}
        entry = Entry(owner.id, self._actor, "hold.place", target, details={"before": None, "after": facts})
        placed = await self._holds.place(Hold(ids.new_id("hold"), owner.id, kind, target, reason, 0), entry)
        if not placed.known:
            raise Absent(f"The project '{project}' has no {kind} {target}.")
        return Covered(owner.name, kind, target, reason, placed.covered)

    async def release(self, hold_id: str) -> None:
        """End a hold: what has expired meanwhile goes with the next sweep."""
        hold = next((each for each in await self._holds.all() if each.id == hold_id), None)
        if hold is not None:
            facts = {"kind": hold.kind, "reason": hold.reason}
            details = {"before": facts, "after": None}
            entry = Entry(hold.project_id, self._actor, "hold.release", hold.target, details=details)
            if await self._holds.release(hold_id, entry):
                return
        raise Absent(f"There is no hold '{hold_id}'.")

    async def holds(self, project: str | None = None) -> list[Hold]:
        """The holds of a project, or of all."""
        return await self._holds.all((await self._gateway.project(project)).id if project else None)

    async def due(self) -> list[Due]:
        """What is due when, and what of it is held."""
        return await self._retention.due()

    async def delete_project(self, project: str) -> Deleted:
        """Delete a project everywhere: interactions, events, uploads, keys, and what upstreams keep."""
        found = await self._gateway.project(project)
        details = {"before": {"name": found.name}, "after": None}
        entry = Entry(found.id, self._actor, "project.delete", found.id, details=details)
        begun = await self._departure.begin(found.id, entry)
        if begun is Begun.HELD:
            raise OperationError(f"Something of '{project}' is held: see `gateway interactions holds`.")
        return await self._erase(found)

    async def _erase(self, project: Project) -> Deleted:
        erased, done = 0, False
        while not done:
            while some := await self._departure.some(project.id):
                erased += some
            done = await self._departure.end(project.id)
        return Deleted(project.id, project.name, erased)


def _choice(filters: Json) -> Choice:
    labels = tuple((filters.get("labels") or {}).items())
    return Choice(**{**filters, "labels": labels})


def _line(exported: Exported) -> bytes:
    """The interaction as the API shows it, and beside it what the API does not show."""
    found = exported.interaction
    beside = {
        "project_id": found.project_id,
        "key_id": exported.key_id,
        "root_id": found.root_id,
        "stored": exported.store,
        "background": found.background,
        "created_at": found.created_at,
        "updated_at": found.updated_at,
        "expires_at": exported.expires_at,
        "upstream": exported.upstream,
    }
    shown = orjson.Fragment(wire_steps.interaction(found, timeline=True))
    options = orjson.Fragment(found.options)
    return orjson.dumps({"interaction": shown, "request": options, "record": beside})


def _absent(project: str, interaction_id: str) -> Absent:
    return Absent(f"The project '{project}' has no interaction {interaction_id}.")


def _now() -> int:
    return time.time_ns() // 1_000_000
