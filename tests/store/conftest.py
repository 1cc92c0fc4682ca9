"""A store with two projects, on both databases, and rows to put into it."""

from typing import Any

import pytest

from app import ids
from app.store.claims import Claims
from app.store.database import Database
from app.store.holders import Holders
from app.store.interactions import Interactions
from app.store.keys import Keys, Project
from app.store.records import EventBatch, NewInteraction, Outcome
from app.store.runs import Runs

MINE, THEIRS = "prj_mine", "prj_theirs"
HOUR = 3_600_000
PEPPER = b"the fingerprint of a pepper"


@pytest.fixture
async def store(database: Database) -> "Store":
    """The store, with the projects MINE and THEIRS."""
    made = Store(database)
    for project in (MINE, THEIRS):
        await made.keys.create_project(Project(project, f"name of {project}", 1, None))
    return made


class Store:
    """Everything that the store can do, and short ways to fill it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.interactions = Interactions(database)
        self.runs = Runs(database)
        self.keys = Keys(database)
        self.holders = Holders(database, PEPPER)

    def claims(self, owner: str, lease_ms: int = HOUR) -> Claims:
        """The claims of a process."""
        return Claims(self.database, owner, lease_ms)

    async def begin(self, **fields: Any) -> str:
        """Insert a run of MINE; its id."""
        made = new(**fields)
        await self.runs.insert(made)
        return made.id

    async def complete(self, parent: str | None = None, output: bytes = b"[]", **fields: Any) -> str:
        """Insert a run of MINE and finish it; its id."""
        interaction_id = await self.begin(parent_id=parent, **fields)
        assert await self.runs.finish(outcome(interaction_id, output=output))
        return interaction_id


def new(**fields: Any) -> NewInteraction:
    """A run that begins, with these fields."""
    interaction_id = fields.setdefault("id", ids.new_interaction_id())
    usual: dict[str, Any] = {
        "project_id": MINE,
        "key_id": None,
        "parent_id": None,
        "root_id": interaction_id,
        "depth": 0,
        "history_bytes": 0,
        "model": "m",
        "agent": None,
        "store": True,
        "background": False,
        "streamed": False,
        "options": b"{}",
        "input": b"[]",
        "created_at": 1_790_000_000_000,
        "upstream": "simulator",
        "owner": "own_1",
        "retention_ms": HOUR,
        "lease_ms": HOUR,
        "run_ms": HOUR,
    }
    return NewInteraction(**(usual | fields))


def outcome(interaction_id: str, **fields: Any) -> Outcome:
    """The end of a run, with these fields."""
    usual: dict[str, Any] = {
        "attempt": 1,
        "status": "completed",
        "output": b"[]",
        "details": b"{}",
        "error": None,
        "updated_at": 1_790_000_001_000,
        "last_seq": 0,
        "events": None,
    }
    return Outcome(interaction_id, **(usual | fields))


def batch(interaction_id: str, first: int, last: int, frames: bytes = b"", attempt: int = 1) -> EventBatch:
    """Events of a run."""
    return EventBatch(interaction_id, attempt, first, last, frames)
