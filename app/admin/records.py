"""Records: what is stored of interactions is shown, held, deleted, and when it is due.

Who reads content stands in the audit log before it is told any.
"""

from dataclasses import dataclass

from app import ids
from app.admin.operations import Absent, OperationError, Operations
from app.core.audit import Actor, Entry
from app.core.listing import ALL, Query, Span
from app.core.model import Interaction
from app.settings import Settings
from app.store.audit import Audit
from app.store.database import Database
from app.store.departure import Begun, Departure
from app.store.holds import Hold, Holds, Kind
from app.store.interactions import Held, Interactions
from app.store.keys import Project
from app.store.listing import Listing
from app.store.retention import Due, Retention


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
        self._holds = Holds(database)
        self._departure = Departure(database)
        self._retention = Retention(database, settings.retention.clock, 0)

    async def interactions(self, project: str, query: Query) -> list[Interaction]:
        """A project's interactions, newest first and without their content."""
        found = await self._gateway.project(project)
        await self._audit.write(Entry(found.id, self._actor, "interaction.list", None))
        return await self._listing.page(found.id, query)

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

        def told(hold: Hold) -> Entry:
            details = {"before": {"kind": hold.kind, "reason": hold.reason}, "after": None}
            return Entry(hold.project_id, self._actor, "hold.release", hold.target, details=details)

        if not await self._holds.release(hold_id, told):
            raise Absent(f"There is no hold '{hold_id}'.")

    async def holds(self, project: str | None = None, span: Span = ALL) -> list[Hold]:
        """The holds of a project, or of all, oldest first."""
        return await self._holds.all(await self._gateway.project_id(project), span)

    async def due(self, project: str | None = None, span: Span = ALL) -> list[Due]:
        """What is due when, by project and day, and what of it is held."""
        return await self._retention.due(await self._gateway.project_id(project), span)

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


def _absent(project: str, interaction_id: str) -> Absent:
    return Absent(f"The project '{project}' has no interaction {interaction_id}.")
