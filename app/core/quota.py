"""Rate limits: what a scope may use, whom it is counted for, and how long there is to wait."""

import math
from fnmatch import fnmatchcase
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


class Rates(NamedTuple):
    """Limits for the models and agents that fit a pattern; these are counted together."""

    rpm: int | None = None
    tpm: int | None = None
    concurrent: int | None = None


ModelLimits = tuple[tuple[str, Rates], ...]
"""Patterns with their limits; each is counted for itself, whatever else fits."""


class Rules(Limits, Protocol):
    """Limits for all calls, and for those of some models."""

    @property
    def model_limits(self) -> ModelLimits:
        """Limits by pattern."""


class Scope(NamedTuple):
    """Limits, and what is counted under them: calls of a project, of one of its keys; of some models."""

    limits: Limits
    project_id: str
    key_id: str | None = None
    pattern: str | None = None

    @property
    def owner(self) -> str:
        """Who has the limits, as a client is told."""
        return "key" if self.key_id is not None else "project"

    @property
    def counter(self) -> str:
        """What it is counted under."""
        return ":".join((self.project_id, self.key_id or "", self.pattern or ""))

    @property
    def limited(self) -> bool:
        """Whether there is anything to count."""
        limits = self.limits
        return limits.rpm is not None or limits.tpm is not None or limits.concurrent is not None

    def named(self, limit: str) -> str:
        """One of the limits, as a client is told of it."""
        return f"its limit '{limit}'" + (f" for '{self.pattern}'" if self.pattern is not None else "")


def scopes(rules: Rules, project_id: str, key_id: str | None, target: str) -> list[Scope]:
    """What a call of this model or agent is counted under, by the rules of a project or of a key."""
    fitting = ((rates, pattern) for pattern, rates in rules.model_limits if fits(pattern, target))
    found = [Scope(rules, project_id, key_id)]
    found += [Scope(rates, project_id, key_id, pattern) for rates, pattern in fitting]
    return [scope for scope in found if scope.limited]


def fits(pattern: str, target: str) -> bool:
    """Whether a limit for this pattern is about this model or agent."""
    return fnmatchcase(target.removeprefix("models/").removeprefix("agents/"), pattern)


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
