"""Rate limits: what a scope may use, whom it is counted for, and how long there is to wait."""

import math
from typing import NamedTuple, Protocol

WINDOW = 60
"""Seconds: limits are for a minute."""


class Limits(Protocol):
    """What a scope may use in a minute, and at a time; None is no limit."""

    @property
    def rpm(self) -> int | None:
        """Requests in a minute."""

    @property
    def tpm(self) -> int | None:
        """Tokens in a minute."""

    @property
    def concurrent(self) -> int | None:
        """Runs at a time."""


class Scope(NamedTuple):
    """Limits, and what is counted under them: of a project, of one of its keys, of a key and a model."""

    limits: Limits
    project_id: str
    key_id: str | None = None
    model: str | None = None

    @property
    def name(self) -> str:
        """How a client is told of it."""
        if self.model is not None:
            return "key and model"
        return "key" if self.key_id is not None else "project"

    @property
    def counter(self) -> str:
        """What it is counted under."""
        return ":".join((self.project_id, self.key_id or "", self.model or ""))

    @property
    def limited(self) -> bool:
        """Whether there is anything to count."""
        limits = self.limits
        return limits.rpm is not None or limits.tpm is not None or limits.concurrent is not None


class Window(NamedTuple):
    """What was counted in the minute before and in this one, with the seconds that each still counts."""

    before: int
    before_left: float
    now: int
    now_left: float


def wait(limit: int, cost: int, window: Window) -> int:
    """Whole seconds until so much more fits: the minute before counts less and less, then this one does."""
    room = limit - cost - window.now
    if room >= 0:
        until = window.before_left - WINDOW * room / window.before if window.before else 0.0
    else:  # not before this minute has become the one before
        until = window.now_left - WINDOW * max(0, limit - cost) / window.now
    return max(1, math.ceil(until))
