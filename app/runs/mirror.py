"""Mirrors: the tails of runs that live elsewhere, read from the store once for all who follow here."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from app.core import status
from app.errors import ApiError
from app.runs.tail import Chunk, Tail
from app.runs.wakeups import Wakeups
from app.store.books import Books


class Mirror:
    """One run as the store shows it, kept up to date while anybody follows."""

    def __init__(self, tail_bytes: int, last_seq: int) -> None:
        self.tail = Tail(tail_bytes, stored=True, last_seq=last_seq)
        self.ended_at = 0
        """The number of the last event of a log that has ended."""
        self.followers = 0
        self.error: ApiError | None = None


class Mirrors:
    """The mirrors of this process."""

    def __init__(self, books: Books, wakeups: Wakeups, tail_bytes: int, poll: float) -> None:
        self._books = books
        self._wakeups = wakeups
        self._tail_bytes = tail_bytes
        self._poll = poll
        self._open: dict[str, tuple[Mirror, asyncio.Task[None]]] = {}

    @contextlib.asynccontextmanager
    async def of(self, project_id: str, interaction_id: str) -> AsyncIterator[Mirror]:
        """The mirror of a run, shared with all others who follow it here."""
        if interaction_id not in self._open:
            mirror = Mirror(self._tail_bytes, await self._books.runs.last_seq(project_id, interaction_id))
        if interaction_id not in self._open:  # nobody was faster
            feeding = asyncio.create_task(self._feed(mirror, project_id, interaction_id))
            self._open[interaction_id] = mirror, feeding
        mirror, feeding = self._open[interaction_id]
        mirror.followers += 1
        try:
            yield mirror
        finally:
            mirror.followers -= 1
            if not mirror.followers:
                del self._open[interaction_id]
                feeding.cancel()

    async def _feed(self, mirror: Mirror, project_id: str, interaction_id: str) -> None:
        try:
            with self._wakeups.following(interaction_id) as following:
                while await self._catch_up(mirror, project_id, interaction_id):
                    await following.changed(self._poll)
        except ApiError as error:
            mirror.error = error
        finally:
            mirror.tail.end()

    async def _catch_up(self, mirror: Mirror, project_id: str, interaction_id: str) -> bool:
        """Take in what is new; False when there will be no more."""
        # First the status, then the events: the other order would lose the last of them.
        reached = await self._books.interactions.reached(project_id, interaction_id)
        while batches := await self._books.runs.events(project_id, interaction_id, mirror.tail.last_seq):
            for batch in batches:
                mirror.tail.add(Chunk(batch.first_seq, batch.last_seq, batch.frames))
        if reached is None or not status.is_terminal(reached.status):
            return reached is not None
        mirror.ended_at = reached.last_seq
        return False
