"""The journal of a run: its events get numbers, are committed, and only then are shown.

Commits adapt: while one is in flight the events that arrive gather for the next, so that a lone
stream pays about one commit of latency and a crowd shares commits.
"""

import asyncio
from collections.abc import Callable

from app import ids
from app.core.events import Event
from app.runs.tail import Chunk, Tail
from app.store.records import EventBatch
from app.store.runs import Runs
from app.wire import steps as wire_steps

_UNCOMMITTED = 1 << 20


class LostRun(Exception):
    """Another process has this run now, or it has been deleted: nothing more may be written."""


class Journal:
    """Numbers events from 1, without gap or repeat; a later attempt goes on behind `last_seq`."""

    def __init__(
        self,
        interaction_id: str,
        attempt: int,
        runs: Runs | None,
        tail: Tail,
        progressed: Callable[[str], None],
        last_seq: int = 0,
    ) -> None:
        self._id = interaction_id
        self._attempt = attempt
        self._runs = runs
        self._tail = tail
        self._progressed = progressed
        self._waiting: list[bytes] = []
        self._size = 0
        self._gathered = last_seq
        self._mark: str | None = None
        self._flush: asyncio.Task[None] | None = None
        self.failed: Callable[[BaseException], None] = nobody
        """Told of a commit that failed: a silent upstream may send nothing more that would show it."""
        self.last_seq = last_seq

    async def add(self, event: Event, mark: str | None = None) -> None:
        """Take an event in. Waits only when too much is not committed or not read yet.

        `mark` is the upstream's own id of the event, kept so that its stream can be taken up there.
        """
        self._take(event)
        self._mark = mark or self._mark
        if self._runs is None:
            self._tail.add(self._gather())
            await self._tail.room()
            return
        if self._flush is None:
            self._flush = asyncio.create_task(self._commit(self._runs))
            self._flush.add_done_callback(self._flushed)
        if self._size > _UNCOMMITTED or self._flush.done():
            await self.settle()

    def close(self, event: Event) -> Chunk:
        """The chunk that ends with this event; to be committed with the end of the run."""
        self._take(event)
        return self._gather()

    async def settle(self) -> None:
        """Wait until all that was added is committed. Raises what a commit raised, or LostRun.

        Whoever is cancelled here cancels no commit: it would happen all the same, and then once more.
        """
        if self._flush is not None:
            await asyncio.shield(self._flush)

    def batch(self, chunk: Chunk) -> EventBatch:
        """The chunk as the store takes it, with the newest mark so far."""
        return EventBatch(self._id, self._attempt, *chunk, self._mark)

    def _take(self, event: Event) -> None:
        self.last_seq += 1
        event_id = ids.event_id(self._id, self.last_seq) if self._runs is not None else None
        frame = wire_steps.frame(wire_steps.for_clients(event), event_id)
        self._waiting.append(frame)
        self._size += len(frame)

    def _gather(self) -> Chunk:
        """All that waits, as one chunk."""
        chunk = Chunk(self._gathered + 1, self.last_seq, b"".join(self._waiting))
        self._gathered = self.last_seq
        self._waiting.clear()
        self._size = 0
        return chunk

    def _put_back(self, chunk: Chunk) -> None:
        """What could not be committed waits again: the end of the run must leave no gap."""
        self._gathered = chunk.first_seq - 1
        self._waiting.insert(0, chunk.frames)
        self._size += len(chunk.frames)

    def _flushed(self, flush: "asyncio.Task[None]") -> None:
        if not flush.cancelled() and (error := flush.exception()) is not None:
            self.failed(error)

    async def _commit(self, runs: Runs) -> None:
        while self._waiting:
            chunk = self._gather()
            try:
                held = await runs.append(self.batch(chunk))
            except BaseException:
                self._put_back(chunk)
                raise
            if not held:
                raise LostRun(self._id)
            self._tail.add(chunk)
            self._progressed(self._id)
        self._flush = None


def nobody(_error: BaseException) -> None:
    """Nobody waits to be told."""
