"""What is written of runs and read back from their rows. Byte fields are JSON text."""

from dataclasses import dataclass

from app.core import status
from app.store.ledger import Charge
from app.store.leftovers import Leftover
from app.store.webhooks import Delivery

FIRST_ATTEMPT = 1
"""The attempt in which a run begins; every takeover counts one up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a run is about, from its first to its last attempt.

    Without `store` only metadata is kept: `options` and `input` stay out of the database. With
    `streamed` there is an event log. `credential` is the fingerprint of the upstream's key.
    """

    id: str
    project_id: str
    key_id: str | None
    parent_id: str | None
    root_id: str
    depth: int
    history_bytes: int
    model: str | None
    agent: str | None
    store: bool
    background: bool
    streamed: bool
    options: bytes
    input: bytes
    created_at: int
    upstream: str
    credential: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInteraction(Job):
    """A run that begins, or is queued; the spans in milliseconds count from the database's now.

    `followed` tells that somebody may read its events from the start.
    """

    status: str = status.IN_PROGRESS
    owner: str | None
    followed: bool = False
    retention_ms: int
    lease_ms: int
    run_ms: int
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def attempt(self) -> int:
        """The attempt that begins with the row; what is queued has none yet."""
        return FIRST_ATTEMPT if self.status == status.IN_PROGRESS else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed(Job):
    """A run taken over, from the queue or from an owner that is gone: `attempt` is ours now."""

    attempt: int
    followed: bool
    cancel_requested: bool
    upstream_id: str | None
    upstream_event_id: str | None
    remaining_ms: int


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Consecutive events of one attempt: `frames` is the text of their SSE frames.

    `upstream_event_id` is the newest of the upstream's own ids among them, where it keeps the run.
    """

    interaction_id: str
    attempt: int
    first_seq: int
    last_seq: int
    frames: bytes
    upstream_event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an attempt, with the events that are not stored yet, and what follows from it."""

    interaction_id: str
    attempt: int
    status: str
    output: bytes | None
    details: bytes | None
    error: bytes | None
    updated_at: int
    last_seq: int
    events: EventBatch | None
    deliveries: tuple[Delivery, ...] = ()
    leftovers: tuple[Leftover, ...] = ()
    usage: Charge | None = None
