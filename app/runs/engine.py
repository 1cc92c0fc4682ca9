"""The engine: where every interaction begins.

start     in the foreground: the process that was asked runs it
begin     in the background: committed first, run here or by whoever has room
cancel    here, or by taking the run away from whoever has it
close     the process ends: what can go on elsewhere does
"""

import asyncio
from contextlib import nullcontext
from dataclasses import dataclass

import orjson

from app import ids
from app.auth.caller import Caller
from app.core import status, steps
from app.core.model import Interaction, Request, Turn
from app.errors import ApiError, Unavailable
from app.runs import lifecycle
from app.runs.accounts import Accounts
from app.runs.admission import Admission, Slot
from app.runs.affinity import Affinity
from app.runs.execution import Executor
from app.runs.past import Past, load
from app.runs.run import Run, done
from app.runs.takeover import Takeover
from app.runs.wakeups import Wakeups
from app.settings import Settings
from app.store.books import Books
from app.store.idempotency import Existing, Once
from app.store.records import NewInteraction
from app.upstream.routing import Routes

_DAY_MS = 86_400_000


class Repeated(Exception):
    """The request has been begun before, under the same idempotency key; `existing` tells by whom."""

    def __init__(self, existing: Existing) -> None:
        super().__init__(existing.interaction_id)
        self.existing = existing


@dataclass(frozen=True, slots=True)
class Engine:
    """Starts runs. `owner` is this process's name on the runs that it has."""

    owner: str
    books: Books
    executor: Executor
    takeover: Takeover
    routes: Routes
    affinity: Affinity
    accounts: Accounts
    background: Admission
    wakeups: Wakeups
    settings: Settings

    async def start(self, caller: Caller, request: Request, slot: Slot, once: Once | None) -> Run:
        """Begin to execute a request; returns while the upstream is being called. The run keeps the slot.

        Raises ApiError when the request cannot be run at all; what goes wrong later is the run's.
        With `once` it is committed first; raises Repeated when it has been begun already.
        """
        past, affinity = await self._prepare(caller, request)
        new = self._new(caller, request, past, affinity, self.owner)
        inserted = await self._reserved(new, request, once)
        return self._launch(new, request, past, caller.credential, inserted, slot.keep())

    async def begin(self, caller: Caller, request: Request, once: Once | None) -> Interaction:
        """Begin a background run, or queue it where all places are taken; committed on return.

        Raises as `start` does.
        """
        past, affinity = await self._prepare(caller, request)
        slot = self.background.try_enter(caller.project_id)
        if slot is None and caller.credential is not None:  # nobody else has the caller's own key
            raise _busy()
        new = self._new(caller, request, past, affinity, self.owner if slot else None)
        with slot or nullcontext():
            inserted = await self._reserved(new, request, once)
            if slot is not None:
                self._launch(new, request, past, caller.credential, inserted, slot.keep())
            await asyncio.shield(inserted)
        if slot is None:
            self.wakeups.queued()
        return lifecycle.begun(new, new.status)

    async def cancel(self, project_id: str, interaction_id: str) -> None:
        """End a background run as cancelled, wherever it runs; nothing happens when it has ended."""
        run = self.executor.live.get(interaction_id)
        if run is not None and run.job.background:
            run.stop(status.CANCELLED, None)
            await asyncio.shield(run.finished)
            if not (run.lost or run.handed_over):
                if run.error is not None:
                    raise run.error
                return
        if await self.takeover.seize(project_id, interaction_id):
            self.wakeups.stopped([interaction_id])
        else:
            await self._ended(project_id, interaction_id)

    def gone(self, interaction_id: str) -> None:
        """A run has been deleted: whoever runs it stops."""
        if run := self.executor.live.get(interaction_id):
            run.lose()
        else:
            self.wakeups.stopped([interaction_id])

    async def close(self) -> None:
        """Let the live runs finish while there is time; hand over or fail what is left."""
        live = self.executor.live
        if live:
            await asyncio.wait([run.finished for run in live.values()], timeout=self.settings.runs.drain)
        for run in list(live.values()):
            if run.stored and run.job.streamed and (run.job.background or run.kept):
                run.hand_over()
            else:
                run.stop(status.FAILED, Unavailable("The gateway was shut down during this interaction."))
        if tasks := [run.task for run in live.values() if run.task is not None]:
            await asyncio.wait(tasks)
        await self.executor.close()

    async def _ended(self, project_id: str, interaction_id: str) -> None:
        """Wait for the end of a run that somebody else has taken, to cancel it."""
        with self.wakeups.following(interaction_id) as following:
            while reached := await self.books.interactions.reached(project_id, interaction_id):
                if status.is_terminal(reached.status):
                    return
                await following.changed(self.settings.runs.poll)

    async def _prepare(self, caller: Caller, request: Request) -> tuple[Past, str | None]:
        """What the request continues, and which of the upstream's keys it is made with."""
        adapter = self.routes.adapter(request.target)
        past = await load(self.books.interactions, self.settings.limits, caller.project_id, request)
        return past, await self.affinity.choose(caller, request, past.history, adapter.name)

    async def _reserved(
        self, new: NewInteraction, request: Request, once: Once | None
    ) -> "asyncio.Future[None]":
        """What the run may take is reserved, and its row on its way; or neither."""
        await self.accounts.reserve_run(new, request)
        try:
            return await self._inserted(new, once)
        except BaseException:
            self.accounts.release_run(new)
            raise

    async def _inserted(self, new: NewInteraction, once: Once | None) -> "asyncio.Future[None]":
        """The row on its way into the database; with a key of its own, there."""
        if once is None:
            return self.books.runs.insert(new)
        if existing := await self.books.runs.insert_once(new, once):
            raise Repeated(existing)
        return done()

    def _launch(
        self,
        new: NewInteraction,
        request: Request,
        past: Past,
        credential: str | None,
        inserted: "asyncio.Future[None]",
        slot: Slot,
    ) -> Run:
        run = self.executor.prepare(
            new,
            request,
            seconds=new.run_ms / 1000,
            leave=slot.release,
        )
        run.inserted = inserted
        turn = Turn(run.request, steps.join((past.history, new.input)), credential, new.credential)
        self.executor.begin(run, self.routes.adapter(request.target), turn)
        return run

    def _new(
        self, caller: Caller, request: Request, past: Past, affinity: str | None, owner: str | None
    ) -> NewInteraction:
        """The row of a run; one without an owner waits in the queue, where its lease has lapsed."""
        interaction_id, parent = ids.new_interaction_id(), past.parent
        given = steps.dump(request.input)
        retention, timeouts = self.settings.retention, self.settings.timeouts
        days = caller.policy.keeps(retention.days if caller.retention_days is None else caller.retention_days)
        stored = request.store and (days > 0 or request.background)
        background = request.background
        return NewInteraction(
            id=interaction_id,
            project_id=caller.project_id,
            key_id=caller.key_id,
            parent_id=request.previous_interaction_id,
            root_id=parent.root_id if parent else interaction_id,
            depth=parent.depth + 1 if parent else 0,
            history_bytes=(parent.history_bytes if parent else 0) + len(given),
            model=request.model,
            agent=request.agent,
            store=stored,
            background=background,
            streamed=request.stream or background,
            options=orjson.dumps(request.options),
            input=given,
            created_at=lifecycle.now(),
            upstream=self.routes.adapter(request.target).name,
            credential=affinity,
            status=status.IN_PROGRESS if owner else status.QUEUED,
            owner=owner,
            followed=request.stream,
            retention_ms=(days if stored else retention.records_days) * _DAY_MS,
            lease_ms=int(self.settings.runs.lease * 1000) if owner else 0,
            run_ms=int((timeouts.background if background else timeouts.run) * 1000),
            labels=tuple(request.options.get("labels", {}).items()),
        )


def _busy() -> ApiError:
    text = "Too many interactions run in the background; try again later."
    return ApiError(text, status=429, code="rate_limit_exceeded", headers={"retry-after": "5"})
