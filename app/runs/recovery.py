"""Recovery: what becomes of a run that somebody else has begun. One table, without any I/O.

A model call whose output somebody saw is never made again: it would answer something else.
"""

from dataclasses import dataclass
from enum import Enum, auto

from app.store.records import FIRST_ATTEMPT, Claimed

_ATTEMPTS = 2


class Course(Enum):
    """What is done with a claimed run."""

    CANCEL = auto()
    """Somebody asked for it."""
    EXPIRE = auto()
    """Its time is up."""
    BEGIN = auto()
    """It comes from the queue: nothing has been done yet."""
    RESUME = auto()
    """The upstream keeps it: what is missing comes from there."""
    RESTART = auto()
    """No content has been emitted: call the upstream again, go on in the same log."""
    REWIND = auto()
    """There is content that nobody can have read: call again, with an empty log."""
    FAIL = auto()
    """What was said stays, nobody can continue it."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a run left behind: whether its log has content, and whether its upstream can resume it."""

    content: bool
    resumable: bool


def course(run: Claimed, found: Found) -> Course:
    """The first line of the table that fits.

    cancel requested                                      CANCEL
    the deadline has passed                               EXPIRE
    never begun                                           BEGIN
    not stored: there is nothing to go on with            FAIL
    the upstream keeps it                                 RESUME
    unary in the foreground: who asked is gone            FAIL
    begun twice already                                   FAIL
    no content yet                                        RESTART
    in the background, and followed by nobody             REWIND
    else                                                  FAIL
    """
    rules = (
        (run.cancel_requested, Course.CANCEL),
        (run.remaining_ms <= 0, Course.EXPIRE),
        (run.attempt == FIRST_ATTEMPT, Course.BEGIN),
        (not run.store, Course.FAIL),
        (found.resumable, Course.RESUME),
        (not run.streamed, Course.FAIL),
        (run.attempt > _ATTEMPTS, Course.FAIL),
        (not found.content, Course.RESTART),
        (run.background and not run.followed, Course.REWIND),
    )
    return next((chosen for fits, chosen in rules if fits), Course.FAIL)
