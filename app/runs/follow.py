"""Follow a run: its frames from any event on, live or stored, here or in another process."""

from collections.abc import AsyncIterator, Mapping

from app import ids, sse
from app.core import events, status
from app.core.model import Interaction
from app.errors import ApiError, InvalidRequest
from app.ids import Place
from app.runs import lifecycle
from app.runs.mirror import Mirrors
from app.runs.run import Run, lost, moved
from app.runs.tail import Chunk, Tail
from app.store.books import Books
from app.store.interactions import Reached
from app.wire import steps as wire_steps


class Followers:
    """Reads runs: `live` are those of this process, of everything else there are mirrors."""

    def __init__(
        self,
        books: Books,
        live: Mapping[str, Run],
        mirrors: Mirrors,
        keep_alive: float,
    ) -> None:
        self._books = books
        self._live = live
        self._mirrors = mirrors
        self._keep_alive = keep_alive

    async def place(self, project_id: str, interaction_id: str, last_event_id: str | None) -> Place | None:
        """The place behind the event with this id, the start without one; None without the interaction.

        Raises InvalidRequest when this interaction has no such event (yet). What is asked for while it
        runs counts as read from then on.
        """
        reached = await self._books.interactions.reached(project_id, interaction_id)
        if reached is None:
            return None
        if not reached.followed and not status.is_terminal(reached.status):
            await self._books.runs.follow(project_id, interaction_id)
        if last_event_id is None:
            return ids.START
        place = ids.place(interaction_id, last_event_id)
        last_seq = await self._last_seq(project_id, interaction_id, reached)
        replayed = status.is_terminal(reached.status) and not reached.last_seq
        if place is None or place.seq + bool(place.part) > last_seq or place.replayed != replayed:
            text = "'last_event_id' is not the id of an event of this interaction, or no longer is."
            raise InvalidRequest(text)
        return place

    async def run(self, run: Run, after: int = 0) -> AsyncIterator[bytes]:
        """The frames of a run in this process, as they are committed."""
        seq = after
        async for chunk in self._chunks(run.tail, run.job.project_id, run.id, seq):
            seq = chunk.last_seq
            yield chunk.frames
        if run.lost and run.stored:  # to a process that writes its end
            async for frames in self._mirrored(run.job.project_id, run.id, seq):
                yield frames
            return
        failed = moved() if run.handed_over else lifecycle.failure(run)
        if failed is None:
            yield sse.DONE
        elif not run.told:  # the end could not be committed, so it is not among the events
            yield _error(failed)

    async def stored(self, project_id: str, interaction_id: str, after: int) -> AsyncIterator[bytes]:
        """The frames of a stored interaction after event number `after`, to its end."""
        run = self._live.get(interaction_id)
        here = run is not None and run.job.streamed
        frames = (
            self.run(run, after)
            if run is not None and here
            else self._mirrored(project_id, interaction_id, after)
        )
        async for text in frames:
            yield text

    async def _mirrored(self, project_id: str, interaction_id: str, after: int) -> AsyncIterator[bytes]:
        seq = after
        async with self._mirrors.of(project_id, interaction_id) as mirror:
            async for chunk in self._chunks(mirror.tail, project_id, interaction_id, seq):
                seq = chunk.last_seq
                yield chunk.frames
                if (rest := _after_the_end(chunk.frames)) is not None:
                    yield rest  # the log has said it: nothing that fails now may be told behind it
                    return
            if mirror.error is not None:
                raise mirror.error
        found = await self._books.interactions.get(project_id, interaction_id)
        if found is None or seq < mirror.ended_at:  # deleted, or its log was given up meanwhile
            yield _error(lost())
        else:
            yield _ending(found, seq, replayed=not mirror.ended_at)

    async def _chunks(
        self, tail: Tail, project_id: str, interaction_id: str, after: int
    ) -> AsyncIterator[Chunk]:
        """What is in a tail, and from the store what is in it no more, until the tail ends."""
        seq = after
        while True:
            ended = tail.ended
            chunk = tail.read(seq)
            if tail.stored and tail.last_seq > seq and (chunk is None or chunk.first_seq > seq + 1):
                chunk = await self._stored(project_id, interaction_id, seq)
            if chunk is not None:
                seq = chunk.last_seq
                yield chunk
            elif ended:
                break
            elif not await tail.change(self._keep_alive):
                yield Chunk(seq, seq, sse.KEEP_ALIVE)

    async def _last_seq(self, project_id: str, interaction_id: str, reached: Reached) -> int:
        run = self._live.get(interaction_id)
        if run is not None and run.job.streamed:
            return run.tail.last_seq
        if not status.is_terminal(reached.status):
            return await self._books.runs.last_seq(project_id, interaction_id)
        if reached.last_seq:
            return reached.last_seq
        found = await self._books.interactions.get(project_id, interaction_id)
        return len(lifecycle.replay(found)) if found is not None else 0

    async def _stored(self, project_id: str, interaction_id: str, after: int) -> Chunk | None:
        batches = await self._books.runs.events(project_id, interaction_id, after)
        if not batches:
            return None
        chunks = [Chunk(batch.first_seq, batch.last_seq, batch.frames) for batch in batches]
        frames = b"".join([chunks[0].after(after), *(chunk.frames for chunk in chunks[1:])])
        return Chunk(after + 1, chunks[-1].last_seq, frames)


def _ending(found: Interaction, after: int, *, replayed: bool) -> bytes:
    """What is left to say of an ended interaction: all of it where no events were kept."""
    frames = b""
    if replayed:
        rest = lifecycle.replay(found)[after:]
        frames = b"".join(
            wire_steps.frame(wire_steps.for_clients(event), ids.replayed_id(found.id, seq))
            for seq, event in enumerate(rest, after + 1)
        )
    return frames if found.error is not None else frames + sse.DONE


def _after_the_end(frames: bytes) -> bytes | None:
    """What follows these frames if the last of them ends the interaction; None if it does not."""
    last = frames.removesuffix(b"\n\n").rpartition(b"\n\n")[2].partition(b"\n")[0]
    name = last.removeprefix(b"event: ").decode()
    if name not in events.TERMINAL:
        return None
    return sse.DONE if name == events.COMPLETED else b""


def _error(failed: ApiError) -> bytes:
    """An `error` event that is not among the run's own."""
    return wire_steps.frame(events.error(failed.code, failed.message), None)
