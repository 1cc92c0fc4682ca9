"""One execution of one interaction."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from app.core import status
from app.core.fold import Fold
from app.core.model import Interaction, Kept, Request
from app.errors import ApiError, Unavailable
from app.runs.journal import Journal, LostRun, nobody
from app.runs.tail import Tail
from app.store.records import Job


def done() -> "asyncio.Future[None]":
    """A future that has come."""
    there: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    there.set_result(None)
    return there


@dataclass(slots=True, eq=False)
class Run:
    """A run in this process. `finished` resolves, never fails, once the end is committed.

    It resolves to None when the end is not ours to tell: the run is gone, lost or handed over.
    """

    job: Job
    attempt: int
    affinity: str | None
    """Which of the upstream's keys it is asked with: its fingerprint, the last one that was tried."""
    request: Request
    seconds: float
    tail: Tail
    journal: Journal
    finished: "asyncio.Future[Interaction | None]"
    leave: Callable[[], None]
    """Gives back the run's place among those that run at once."""
    inserted: "asyncio.Future[None]" = field(default_factory=done)
    task: "asyncio.Task[None] | None" = None
    fold: Fold = field(default_factory=Fold)
    kept: Kept | None = None
    """The run at the upstream, where that keeps it."""
    heard: bool = False
    """Whether the upstream has said anything: until then a failure can still be a status code."""
    error: ApiError | None = None
    verdict: str | None = None
    """The status that was decided here, whatever the upstream says."""
    stopped: ApiError | None = None
    ending: bool = False
    """Whether the end is being committed: it can no longer become another."""
    lost: bool = False
    """Whether its row is another process's now, or has been deleted: the store tells its end."""
    handed_over: bool = False
    """Whether it was let go of, for another process to take up."""
    told: bool = False
    """Whether the terminal event is among the frames that followers read."""

    @property
    def id(self) -> str:
        """The interaction's id, also of one that is not stored."""
        return self.job.id

    @property
    def stored(self) -> bool:
        """Whether content is kept and can be read again."""
        return self.job.store

    @property
    def shown_id(self) -> str:
        """The id as clients see it: empty when the interaction is not stored."""
        return self.job.id if self.job.store else ""

    def stop(self, ending: str, why: ApiError | None) -> None:
        """End the run early with this status, unless it is ending already."""
        if not self._stoppable():
            return
        self.verdict, self.stopped = ending, why
        self._interrupt()

    def lose(self) -> None:
        """Leave a run whose row has been deleted, or is another process's now."""
        if self._stoppable():
            self.lost = True
            self._interrupt()

    def break_off(self, error: BaseException) -> None:
        """End a run whose events cannot be committed."""
        if isinstance(error, LostRun):
            self.lose()
        elif isinstance(error, ApiError):
            self.stop(status.FAILED, error)

    def hand_over(self) -> None:
        """Leave a run for another process to take up."""
        if self._stoppable():
            self.handed_over = True
            self._interrupt()

    def let_go(self) -> None:
        """Cut what leads back to a run that has ended: it goes with its last reader, not with a collection.

        Its journal tells it of failures, and the traceback of its error has frames that hold it.
        """
        self.journal.failed = nobody
        if self.error is not None:
            self.error.__traceback__ = None

    def _stoppable(self) -> bool:
        return not (self.verdict or self.lost or self.handed_over or self.ending)

    def _interrupt(self) -> None:
        if self.task is not None:
            self.task.cancel()


def lost() -> ApiError:
    """What those are told who waited for a run that is gone."""
    text = "The interaction was deleted, or taken over by another process."
    return ApiError(text, status=499, code="cancelled")


def moved() -> ApiError:
    """What the followers of a run are told that was handed over."""
    return Unavailable("The gateway is shutting down; the interaction goes on and can be read by its id.")
