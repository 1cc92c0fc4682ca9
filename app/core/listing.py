"""Lists: how much of one, and which interactions of a project."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a list: so many, or all there are, from behind a position on.

    A position is the values that the list is ordered by, of the last one of the part before.
    """

    limit: int | None = None
    after: tuple[int | str, ...] | None = None


ALL = Span()


@dataclass(frozen=True, slots=True)
class Query:
    """All given conditions hold; times are epoch milliseconds, `since` included, `until` not.

    `after` is the (created_at, id) of the last interaction of the page before: a position, not an
    offset, so that what is created meanwhile shifts nothing.
    """

    limit: int
    after: tuple[int | str, ...] | None = None
    model: str | None = None
    agent: str | None = None
    status: str | None = None
    parent_id: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    since: int | None = None
    until: int | None = None
