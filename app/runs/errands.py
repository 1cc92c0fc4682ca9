"""Errands: what is left to do at an upstream that keeps a run which has ended here."""

import asyncio
import logging

from app import log
from app.core.model import Kept
from app.errors import ApiError
from app.runs.run import Run
from app.store.books import Books
from app.upstream.adapter import Adapter

_SECONDS = 15


class Errands:
    """Ends at the upstream what has ended here first, and leaves nothing there of what is not stored."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._going: set[asyncio.Task[None]] = set()

    def after(self, run: Run, adapter: Adapter | None) -> None:
        """Do what is left to do of a run that has ended; nobody waits for it."""
        if adapter is None or run.kept is None or run.handed_over or (run.stored and run.fold.ended):
            return
        errand = asyncio.create_task(self._do(run, adapter, run.kept))
        self._going.add(errand)
        errand.add_done_callback(self._going.discard)

    async def close(self) -> None:
        """Wait for what is left to do; it is bounded in time."""
        if self._going:
            await asyncio.wait(self._going)

    async def _do(self, run: Run, adapter: Adapter, kept: Kept) -> None:
        try:
            if run.finished.result() is None and not await self._gone(run):
                return  # another process goes on with it
            async with asyncio.timeout(_SECONDS):
                if not run.fold.ended:
                    await adapter.cancel(kept)
                if not run.stored:
                    await adapter.forget(kept)
        except (ApiError, TimeoutError) as error:
            log.event(logging.WARNING, "an upstream may go on with a run", id=run.id, reason=str(error))
        except Exception:  # noqa: BLE001 - nobody waits for this task
            log.logger().exception("an errand to an upstream failed in a way nobody foresaw")

    async def _gone(self, run: Run) -> bool:
        return await self._books.interactions.reached(run.job.project_id, run.id) is None
