"""The tail of a live run: its newest frames that may be shown, for followers in this process."""

import asyncio
from collections import deque
from itertools import takewhile
from typing import NamedTuple


class Chunk(NamedTuple):
    """The frames of consecutive events, as one text."""

    first_seq: int
    last_seq: int
    frames: bytes

    def after(self, seq: int) -> bytes:
        """The frames of the events with numbers above `seq`."""
        if seq < self.first_seq:
            return self.frames
        # A frame holds JSON on one line, so a blank line is always the end of a frame.
        return b"\n\n".join(self.frames.split(b"\n\n")[seq - self.first_seq + 1 :])


class Tail:
    """Bounded memory of a run's frames.

    Of a stored run the oldest frames are dropped past `limit` bytes: whoever is that slow reads
    them from the store. Of a run that is not stored none may be dropped: each is forgotten when
    its one follower has read it, and the run waits while too much is unread.
    """

    def __init__(self, limit: int, *, stored: bool, last_seq: int = 0) -> None:
        self._limit = limit
        self.stored = stored
        self._chunks: deque[Chunk] = deque()
        self._size = 0
        self._changed = asyncio.Event()
        self.last_seq = last_seq
        self.ended = False

    def add(self, chunk: Chunk) -> None:
        """Show these frames to everybody who follows."""
        self._chunks.append(chunk)
        self._size += len(chunk.frames)
        self.last_seq = chunk.last_seq
        while self.stored and self._size > self._limit and len(self._chunks) > 1:
            self._forget()
        self._wake()

    def end(self) -> None:
        """There will be no more."""
        self.ended = True
        self._wake()

    def read(self, after: int) -> Chunk | None:
        """Everything after this number in one chunk, or None when nothing is new.

        The chunk begins later than `after + 1` when what lies between has been dropped.
        """
        if after >= self.last_seq:
            return None
        newer = [*takewhile(lambda chunk: chunk.last_seq > after, reversed(self._chunks))][::-1]
        if not newer:
            return None
        if not self.stored:
            while self._chunks:
                self._forget()
            self._wake()
        first = max(newer[0].first_seq, after + 1)
        frames = b"".join([newer[0].after(after), *(chunk.frames for chunk in newer[1:])])
        return Chunk(first, newer[-1].last_seq, frames)

    async def change(self, seconds: float) -> bool:
        """Wait until something is added, read or ended; False when nothing was, for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            return False
        return True

    async def room(self) -> None:
        """Wait while the follower of an unstored run has too much unread."""
        while not self.stored and self._size > self._limit and not self.ended:
            await self._changed.wait()

    def _forget(self) -> None:
        self._size -= len(self._chunks.popleft().frames)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
