"""Export: everything that is stored of chosen interactions, oldest first, a bounded piece at a time.

Also what has expired and is not erased yet, or is held: who exports wants all that there is.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, Select, func, literal, select

from app.core.listing import Span
from app.core.model import Interaction
from app.store.database import Database
from app.store.interactions import interaction
from app.store.pages import page
from app.store.schema import interaction_labels, interactions

_ROWS = 1000
_BYTES = 2 << 20
_CONTENT = ("options", "input", "output", "details", "error")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which interactions of a project: all given conditions hold. Times as in a listing."""

    project_id: str
    until: int
    since: int | None = None
    key_id: str | None = None
    model: str | None = None
    labels: tuple[tuple[str, str], ...] = ()


class Exported(NamedTuple):
    """An interaction, and what the API does not show of it."""

    interaction: Interaction
    key_id: str | None
    store: bool
    expires_at: int
    upstream: str | None

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands in the order of an export."""
        return self.interaction.created_at, self.interaction.id


class Export:
    """Reads what is to be exported."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def piece(self, choice: Choice, after: tuple[int, str] | None) -> list[Exported]:
        """The next of the chosen interactions, as many as may be in memory; empty at the end."""
        query = _piece(choice, Span(_ROWS, after))
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [_exported(row) for row in rows]


_ORDER = interactions.c.created_at, interactions.c.id
_ALSO = Exported._fields[1:]
_COLUMNS = Interaction.__slots__
_READ = select(*(interactions.c[name] for name in (*_COLUMNS, *_ALSO)))
_SIZE = sum((func.coalesce(func.length(interactions.c[name]), 0) for name in _CONTENT), start=literal(0))


def _piece(choice: Choice, span: Span) -> Select[Any]:
    """As many as there may be, but for those that too many bytes stand before."""
    some = page(select(*_ORDER, _SIZE.label("size")).where(*_conditions(choice)), _ORDER, span).subquery()
    before = func.sum(some.c.size).over(order_by=(some.c.created_at, some.c.id)) - some.c.size
    sized = select(some.c.id, before.label("before")).subquery()
    few = _READ.join(sized, sized.c.id == interactions.c.id).where(sized.c.before < _BYTES)
    return few.order_by(*_ORDER)


def _conditions(choice: Choice) -> list[ColumnElement[bool]]:
    table, labels = interactions.c, interaction_labels.c
    conditions = [table.project_id == choice.project_id, table.created_at < choice.until]
    if choice.since is not None:
        conditions.append(table.created_at >= choice.since)
    if choice.key_id is not None:
        conditions.append(table.key_id == choice.key_id)
    if choice.model is not None:
        conditions.append(table.model == choice.model)
    for name, value in choice.labels:
        labelled = select(labels.interaction_id).where(
            labels.project_id == choice.project_id, labels.name == name, labels.value == value
        )
        conditions.append(table.id.in_(labelled))
    return conditions


def _exported(row: Row[Any]) -> Exported:
    count = len(_COLUMNS)
    return Exported(interaction(dict(zip(_COLUMNS, row[:count], strict=True))), *row[count:])
