"""Execution: the one way from an upstream's events to a committed end.

execute   upstream events -> our ids -> fold and journal
end       one commit -> told -> what is left to do at the upstream
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from app import log
from app.core import events, status
from app.core.events import BrokenStream, Event
from app.core.model import Interaction, Kept, Request, Turn
from app.errors import ApiError, Unavailable
from app.runs import lifecycle
from app.runs.accounts import Accounts
from app.runs.affinity import Affinity
from app.runs.errands import Errands
from app.runs.journal import Journal, LostRun
from app.runs.run import Run, lost
from app.runs.tail import Tail
from app.runs.wakeups import Wakeups
from app.settings import Settings
from app.store.books import Books
from app.store.records import Claimed, Job, NewInteraction
from app.telemetry.observer import QUIET, Facts, Observer
from app.upstream.adapter import Adapter
from app.upstream.failures import Refusal


@dataclass(slots=True)
class Executor:
    """Executes runs; `live` are those of this process that have not ended."""

    books: Books
    affinity: Affinity
    accounts: Accounts
    wakeups: Wakeups
    webhooks_due: Callable[[], None]
    settings: Settings
    observer: Observer = QUIET
    errands: Errands = field(init=False)
    live: dict[str, Run] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.errands = Errands(self.books)

    def prepare(
        self,
        job: NewInteraction | Claimed,
        request: Request,
        *,
        seconds: float,
        leave: Callable[[], None],
        last_seq: int = 0,
    ) -> Run:
        """A run that goes on behind event number `last_seq`; it has `seconds`, and `leave` is called last."""
        if job.streamed != request.stream:
            request = replace(request, stream=job.streamed)
        tail = Tail(self.settings.runs.tail_bytes, stored=job.store, last_seq=last_seq)
        runs = self.books.runs if job.store else None
        return Run(
            job=job,
            attempt=job.attempt,
            affinity=job.credential,
            request=request,
            seconds=seconds,
            tail=tail,
            journal=Journal(job.id, job.attempt, runs, tail, self.wakeups.progressed, last_seq),
            finished=asyncio.get_running_loop().create_future(),
            leave=leave,
        )

    def begin(self, run: Run, adapter: Adapter, turn: Turn) -> None:
        """Execute a run in a task of its own, which outlives the request.

        An older attempt that still lives here, because this process slept through its lease, is lost.
        """
        if older := self.live.get(run.id):
            older.lose()
        run.journal.failed = run.break_off
        run.task = asyncio.create_task(self._execute(run, adapter, turn))
        self.live[run.id] = run

    async def close(self) -> None:
        """Wait for what is left to do at the upstreams; it is bounded in time."""
        await self.errands.close()

    async def _execute(self, run: Run, adapter: Adapter, turn: Turn) -> None:
        with self.observer.running(_facts(run.job)):
            await self._try(run, adapter, turn)
            await self.end(run, adapter)

    async def _try(self, run: Run, adapter: Adapter, turn: Turn) -> None:
        """Ask and listen; what goes wrong is the run's."""
        try:
            async with asyncio.timeout(run.seconds):
                await self._ask(run, adapter, turn)
        except LostRun:
            run.lost = True
        except asyncio.CancelledError:
            decided = run.verdict or run.lost or run.handed_over
            run.error = run.stopped if decided else Unavailable("The run was interrupted.")
        except TimeoutError:
            run.error = lifecycle.expired()
        except BrokenStream as broken:
            text = f"The upstream '{adapter.name}' sent a broken stream: {broken}."
            run.error = ApiError(text, status=502, code="bad_gateway")
        except ApiError as error:
            run.error = error
        except Exception:  # noqa: BLE001 - a fault of ours: the run fails, the process lives
            run.error = _unforeseen(run)

    async def _ask(self, run: Run, adapter: Adapter, turn: Turn) -> None:
        """Ask with one of the upstream's keys; with others, once each, while it has said nothing."""
        others: list[str] | None = None
        while True:
            run.affinity = turn.affinity
            try:
                with self.observer.calling(adapter.name, _facts(run.job)):
                    await self._consume(run, adapter, turn)
            except Refusal as refusal:
                if run.heard or not refusal.elsewhere:
                    raise
                if others is None:
                    others = self.affinity.others(run.job.project_id, turn, adapter.name)
                if not others:
                    raise
                turn = replace(turn, affinity=others.pop(0))
            else:
                await self.affinity.keep(run.job, run.fold, turn.affinity)
                return

    async def _consume(self, run: Run, adapter: Adapter, turn: Turn) -> None:
        """Take in the upstream's events up to the terminal one, which is told after the commit."""
        opened = run.journal.last_seq > 0  # in an earlier attempt
        async with contextlib.aclosing(adapter.run(turn)) as upstream:
            async for event in upstream:
                if not run.heard:
                    await self._recorded(run)
                    run.heard = True
                    self.observer.heard((lifecycle.now() - run.job.created_at) / 1000)
                    if event.type != events.CREATED and run.job.streamed and not opened:
                        await run.journal.add(lifecycle.opening(run))
                if event.type == events.CREATED:
                    await self._note(run, adapter, turn, event)
                    if opened:
                        continue
                run.fold.add(event)
                if run.fold.ended:
                    return
                if run.job.streamed:
                    await run.journal.add(lifecycle.ours(run, event), _mark(run, event))
        raise ApiError(
            f"The upstream '{adapter.name}' ended its stream without ending the interaction.",
            status=502,
            code="bad_gateway",
        )

    async def _note(self, run: Run, adapter: Adapter, turn: Turn, created: Event) -> None:
        """Keep the upstream's own id of the run, before anything of it is shown."""
        there = lifecycle.id_of(created)
        if not there or not adapter.keeps(run.request) or (run.kept and run.kept.id == there):
            return
        run.kept = Kept(there, turn.affinity, turn.credential)
        if not await self.books.runs.keep(run.id, run.attempt, there):
            raise LostRun(run.id)

    async def _recorded(self, run: Run) -> None:
        """Wait for the run's row. Without it a stored run may not go on; one that is not, may."""
        try:
            await asyncio.shield(run.inserted)
        except Unavailable:
            if run.stored:
                raise
            log.event(logging.WARNING, "an unstored interaction left no record", interaction=run.id)

    async def end(self, run: Run, adapter: Adapter | None) -> None:
        """Commit the end, then tell it: exactly one terminal event, exactly one status."""
        run.ending = True
        result: Interaction | None = None
        try:
            result = await self._conclude(run)
        finally:
            if run.lost:
                run.error = run.error or lost()
            if result is None and (run.lost or not run.handed_over):  # its row may never have been written
                self.accounts.abandon(self.accounts.charge(run, lifecycle.result(run)))
            if self.live.get(run.id) is run:
                del self.live[run.id]
            run.tail.end()
            run.let_go()
            run.finished.set_result(result)
            self._make_room(run)
            self._log(run)
            self.errands.after(run, adapter)

    async def _conclude(self, run: Run) -> Interaction | None:
        """The interaction as it has been committed; None when its end is not ours to tell."""
        try:
            if run.handed_over:
                await self._release(run)
            elif not run.lost:
                return await self._commit(run)
        except LostRun:
            run.lost = True
        except ApiError as error:
            run.error = error
        except Exception:  # noqa: BLE001 - as above
            run.error = run.error or _unforeseen(run)
        return None

    def _make_room(self, run: Run) -> None:
        run.leave()
        self.wakeups.progressed(run.id)
        if run.job.background:
            self.wakeups.room()

    async def _commit(self, run: Run) -> Interaction:
        await self._recorded(run)
        if run.error is None:
            await run.journal.settle()
        else:
            with contextlib.suppress(ApiError, LostRun):
                await run.journal.settle()
        result = lifecycle.result(run)
        chunk = None
        if run.job.streamed:
            chunk = run.journal.close(lifecycle.ended(result))
        batch = run.journal.batch(chunk) if chunk is not None and run.stored else None
        charge = self.accounts.charge(run, result)
        outcome = lifecycle.outcome(run, result, batch, charge, forget=self._forgets(run.job.upstream))
        committed = self.books.runs.finish(outcome)
        self.accounts.ended(charge)
        if run.stored and not await committed:
            raise LostRun(run.id)
        if outcome.deliveries:
            self.webhooks_due()
        if chunk is not None:
            run.tail.add(chunk)
            run.told = True
        return result

    def _forgets(self, upstream: str) -> bool:
        """Whether the upstream is to keep nothing of what has ended."""
        return any(each.name == upstream and each.delete_after for each in self.settings.upstreams)

    async def _release(self, run: Run) -> None:
        await self._recorded(run)
        await run.journal.settle()
        if not await self.books.claims.release(run.id, run.attempt):
            raise LostRun(run.id)

    def _log(self, run: Run) -> None:
        ended = run.finished.result()
        status_, ms = ended.status if ended else _whereabouts(run), lifecycle.now() - run.job.created_at
        usage = run.fold.details.get("usage")
        self.observer.ended(_facts(run.job), status_, ms / 1000, usage if isinstance(usage, dict) else None)
        log.event(
            logging.INFO,
            "interaction",
            id=run.id,
            project=run.job.project_id,
            target=run.request.target,
            attempt=run.attempt,
            status=status_,
            code=run.error.code if run.error else None,
            stored=run.stored,
            stream=run.request.stream,
            ms=ms,
        )


def _mark(run: Run, event: Event) -> str | None:
    """The upstream's own id of an event of a run that it keeps."""
    mark = event.fields.get("event_id") if run.kept is not None else None
    return mark if isinstance(mark, str) else None


def _facts(job: Job) -> Facts:
    return Facts(job.id, job.root_id, job.model, job.agent, job.upstream or "")


def _whereabouts(run: Run) -> str:
    if run.handed_over:
        return "handed_over"
    return "lost" if run.lost else status.FAILED


def _unforeseen(run: Run) -> ApiError:
    incident = secrets.token_hex(6)
    fields = {"fields": {"interaction": run.id, "incident": incident}}
    log.logger().exception("a run failed in a way nobody foresaw", extra=fields)
    return ApiError(f"An internal error occurred. Incident {incident}.")
