"""Takeover: runs from the queue, and those whose process died, go on here as `recovery` decides."""

import logging
from dataclasses import dataclass, replace

import orjson

from app import log, sse
from app.core import events, status, steps
from app.core.continuity import Continuity
from app.core.events import BrokenStream, Event
from app.core.fold import Fold
from app.core.model import Kept, Request, Turn
from app.errors import ApiError
from app.runs import lifecycle, recovery
from app.runs.admission import Admission
from app.runs.execution import Executor
from app.runs.past import history
from app.runs.recovery import Course, Found
from app.runs.run import Run
from app.store.books import Books
from app.store.records import Claimed
from app.telemetry.observer import QUIET, Observer
from app.upstream.adapter import Adapter
from app.upstream.routing import Routes

_CONTENT = frozenset({events.STEP_START, events.STEP_DELTA, events.STEP_STOP})


class Said:
    """What a run's log says: its fold, its events once more, and the number of the last one."""

    def __init__(self, run_id: str) -> None:
        self._run_id = run_id
        self.fold = Fold()
        self.told = Continuity()
        self.last_seq = 0
        self.content = False

    def add(self, event: Event) -> None:
        """Take in a stored event."""
        self.content = self.content or event.type in _CONTENT
        try:
            self.fold.add(event)
            self.told.take(event)
        except BrokenStream as broken:
            log.event(logging.WARNING, "a stored event does not fold", id=self._run_id, why=str(broken))


@dataclass(frozen=True, slots=True)
class Takeover:
    """Takes up claimed runs."""

    books: Books
    executor: Executor
    routes: Routes
    background: Admission
    observer: Observer = QUIET

    async def seize(self, project_id: str, interaction_id: str) -> bool:
        """Take a background run from whoever has it, and cancel it; False when it does not run."""
        claimed = await self.books.claims.seize(project_id, interaction_id)
        if claimed is not None:
            await self.take_up(claimed)
        return claimed is not None

    async def take_up(self, claimed: Claimed) -> None:
        """Do with a claimed run what is left to do; what goes wrong after that is the run's."""
        request, adapter, unrouted = _request(claimed), None, None
        try:
            adapter = self.routes.adapter(request.target)
        except ApiError as error:  # the settings have changed
            unrouted = error
        said = await self._said(claimed)
        resumable = adapter is not None and _resumable(claimed, adapter, request)
        course = recovery.course(claimed, Found(said.content, resumable))
        self.observer.took_up(course.name.lower())
        log.event(logging.INFO, "took up a run", id=claimed.id, attempt=claimed.attempt, course=course.name)
        if course is Course.REWIND and await self.books.runs.rewind(claimed.id, claimed.attempt):
            said, claimed = Said(claimed.id), replace(claimed, upstream_id=None)
        elif course is Course.REWIND:  # somebody has begun to read
            course = Course.FAIL
        # An older version did not say whether it keeps a log.
        claimed = replace(claimed, streamed=claimed.streamed or said.last_seq > 0)
        run = self._run(claimed, request, said)
        if course is Course.CANCEL:
            run.verdict = status.CANCELLED
        elif course is Course.EXPIRE:
            run.error = lifecycle.expired()
        elif course is Course.FAIL:
            run.error = lifecycle.abandoned()
        elif adapter is None:
            run.error = unrouted
        else:
            await self._go_on(run, claimed, said, adapter)
            return
        await self.executor.end(run, adapter)

    async def _go_on(self, run: Run, claimed: Claimed, said: Said, adapter: Adapter) -> None:
        """Call the upstream again, or take up what it keeps."""
        try:
            past = await history(self.books.interactions, claimed.project_id, run.request)
            affinity = self.executor.affinity.again(claimed, adapter.name)
        except ApiError as error:
            run.error = error
            await self.executor.end(run, adapter)
            return
        told = said.told if run.kept is not None else None
        if told is not None:
            told.reconnected()
        turn = Turn(run.request, steps.join((past, claimed.input)), None, affinity, run.kept, told)
        self.executor.begin(run, adapter, turn)

    def _run(self, claimed: Claimed, request: Request, said: Said) -> Run:
        slot = self.background.try_enter(claimed.project_id)
        run = self.executor.prepare(
            claimed,
            request,
            seconds=claimed.remaining_ms / 1000,
            leave=slot.release if slot is not None else _nothing,
            last_seq=said.last_seq,
        )
        run.fold = said.fold
        if claimed.upstream_id is not None:
            run.kept = Kept(claimed.upstream_id, claimed.credential, None, claimed.upstream_event_id)
        return run

    async def _said(self, claimed: Claimed) -> Said:
        """What the attempts so far have committed."""
        said, decoder = Said(claimed.id), sse.Decoder(2**31)
        while batches := await self.books.runs.events(claimed.project_id, claimed.id, said.last_seq):
            for batch in batches:
                for frame in decoder.feed(batch.frames):
                    said.add(_as_it_came(events.parse(frame.data, frame.event)))
                said.last_seq = batch.last_seq
        return said


def _request(claimed: Claimed) -> Request:
    return Request(
        input=orjson.loads(claimed.input),
        model=claimed.model,
        agent=claimed.agent,
        previous_interaction_id=claimed.parent_id,
        store=claimed.store,
        stream=claimed.streamed,
        background=claimed.background,
        options=orjson.loads(claimed.options),
    )


def _resumable(claimed: Claimed, adapter: Adapter, request: Request) -> bool:
    return (
        claimed.upstream_id is not None
        and claimed.credential is not None
        and claimed.upstream == adapter.name
        and adapter.keeps(request)
    )


def _as_it_came(event: Event) -> Event:
    """The event without our own id, and without what is added for some SDKs."""
    event.fields.pop("event_id", None)
    delta = event.fields.get("delta")
    if isinstance(delta, dict) and delta.get("type") == "arguments_delta":
        delta.pop("partial_arguments", None)
    return event


def _nothing() -> None:
    """A run that was taken up has no place to give back."""
