"""Evidence: what clients were told, what the upstream was asked, and what the database holds.

Everything here is read anew: frames are split by hand, rows come by plain SQL.
"""

import itertools
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.records import Records

DONE = b"event: done\ndata: [DONE]"


@dataclass(frozen=True)
class Plan:
    """What one client is going to do. The tag is the name of the model (or agent) that it asks for."""

    tag: str
    tokens: int = 10
    delay_ms: int = 20
    break_after: int = 0
    agent: bool = False
    stream: bool = True
    background: bool = False
    store: bool = True
    continues: bool = False
    followers: int = 0
    leaves: bool = False
    cancel_after: float | None = None
    delete_after: float | None = None

    def body(self, parent: str | None) -> dict[str, Any]:
        """The request."""
        orders = f"tokens={self.tokens} delay_ms={self.delay_ms} break_after={self.break_after}"
        wanted: dict[str, Any] = {"agent" if self.agent else "model": self.tag}
        wanted["input"] = f"Count. [[fault {orders}]]"
        for name in ("stream", "background"):
            if getattr(self, name):
                wanted[name] = True
        if not self.store:
            wanted["store"] = False
        if parent is not None:
            wanted["previous_interaction_id"] = parent
        return wanted


@dataclass(frozen=True)
class Frame:
    """One event as it was told: its id ("" without one), its whole text, and what is in it."""

    id: str
    text: bytes
    event: dict[str, Any]

    @property
    def is_end(self) -> bool:
        """Whether it ends an interaction."""
        return self.event["event_type"] in ("interaction.completed", "error")

    @property
    def ending(self) -> str:
        """The status that it ends with."""
        failed = self.event["event_type"] == "error"
        return "failed" if failed else str(self.event["interaction"]["status"])

    @property
    def said(self) -> str:
        """What the model says in it."""
        return str(self.event.get("delta", {}).get("text", ""))


@dataclass
class Reading:
    """One connection on which events were read: from where on, which, and how it ended."""

    tag: str
    after: str | None = None
    frames: list[Frame] = field(default_factory=list)
    done: bool = False
    content_at: float | None = None
    rest: bytes = b""

    def take(self, chunk: bytes) -> None:
        """More of the stream. What has no blank line behind it has not been told."""
        *whole, self.rest = (self.rest + chunk).split(b"\n\n")
        for text in whole:
            if text == DONE:
                self.done = True
            elif not text.startswith(b":"):
                frame = frame_of(text)
                self.frames.append(frame)
                if frame.said and self.content_at is None:
                    self.content_at = time.monotonic()

    @property
    def ended(self) -> bool:
        """Whether the end of the interaction was told, as an event that is part of it."""
        return self.done or bool(self.frames and self.frames[-1].is_end and self.frames[-1].id)

    @property
    def last_id(self) -> str | None:
        """Where to go on reading."""
        named = [frame.id for frame in self.frames if frame.id]
        return named[-1] if named else self.after


@dataclass(frozen=True)
class Look:
    """One answer about an interaction: its status, and its text where it was told."""

    tag: str
    status: str
    text: str | None = None
    after_end: bool = False
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class Call:
    """One request for an answer that reached the upstream."""

    at: float
    tag: str
    number: int


@dataclass(frozen=True)
class Row:
    """An interaction in the database, and its event log."""

    id: str
    tag: str
    store: bool
    status: str
    output: bytes | None
    last_seq: int
    leased: bool
    batches: tuple[tuple[int, int, bytes], ...] = ()


@dataclass
class Evidence:
    """Everything that is known of one campaign."""

    plans: dict[str, Plan] = field(default_factory=dict)
    readings: list[Reading] = field(default_factory=list)
    replays: list[Reading] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    maybe_deleted: set[str] = field(default_factory=set)
    broken_chains: dict[str, str] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    faults: list[tuple[str, float, float]] = field(default_factory=list)


def frame_of(text: bytes) -> Frame:
    """A frame, read."""
    name, _, data = text.partition(b"\ndata: ")
    event = json.loads(data)
    if name != b"event: " + event["event_type"].encode():
        raise AssertionError(f"a frame that contradicts itself: {text[:200]!r}")
    return Frame(event.get("event_id", ""), text, event)


def frames_of(raw: bytes) -> list[Frame]:
    """The frames in a piece of an event log."""
    return [frame_of(text) for text in raw.split(b"\n\n") if text]


def text_of(steps: list[dict[str, Any]]) -> str:
    """What the model says in these steps."""
    content = [item for step in steps if step["type"] == "model_output" for item in step.get("content") or ()]
    return "".join(item.get("text", "") for item in content)


def calls_in(log: Path) -> list[Call]:
    """What the upstream has written down."""
    return [Call(**json.loads(line)) for line in log.read_text().splitlines()]


def rows_in(records: Records) -> list[Row]:
    """What the database holds."""
    logged = records.rows(
        "SELECT interaction_id, first_seq, last_seq, frames FROM interaction_events "
        "ORDER BY interaction_id, first_seq"
    )
    batches = {
        name: tuple((first, last, bytes(frames)) for _, first, last, frames in group)
        for name, group in itertools.groupby(logged, lambda row: row[0])
    }
    rows = records.rows(
        "SELECT id, COALESCE(model, agent), store, status, output, last_seq, lease_until FROM interactions"
    )
    return [
        Row(
            id=name,
            tag=tag,
            store=bool(store),
            status=status,
            output=None if output is None else bytes(output),
            last_seq=last_seq,
            leased=lease is not None,
            batches=batches.get(name, ()),
        )
        for name, tag, store, status, output, last_seq, lease in rows
    ]
