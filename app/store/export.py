"""Export: everything that is stored of chosen interactions, oldest first, a bounded piece at a time.

Also what has expired and is not erased yet, or is held: who exports wants all that there is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Row, Select, bindparam, func, literal, select, tuple_

from app.core.model import Interaction
from app.store.database import Database
from app.store.interactions import interaction
from app.store.schema import interaction_labels, interactions

_PAGE = 500
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


class Place(NamedTuple):
    """Where an interaction stands in the order of an export, and how many bytes it has."""

    created_at: int
    id: str
    size: int


class Exported(NamedTuple):
    """An interaction, and what the API does not show of it."""

    interaction: Interaction
    key_id: str | None
    store: bool
    expires_at: int
    upstream: str | None


class Export:
    """Reads what is to be exported."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def places(self, choice: Choice, after: tuple[int, str] | None) -> list[Place]:
        """The next of the chosen interactions, without their content; empty when there are no more."""
        query = _places(choice, after)
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return [Place(*row) for row in rows]

    async def read(self, places: Sequence[Place]) -> list[Exported]:
        """These, in order, as far as they are still there."""
        chosen = {"ids": [place.id for place in places]}
        rows = await self._database.read(lambda connection: connection.execute(_READ, chosen).all())
        return [_exported(row) for row in rows]


_ALSO = tuple(name for name in Exported._fields if name != "interaction")
_READ = (
    select(*(interactions.c[name] for name in (*Interaction.__slots__, *_ALSO)))
    .where(interactions.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(interactions.c.created_at, interactions.c.id)
)


def _places(choice: Choice, after: tuple[int, str] | None) -> Select[Any]:
    table = interactions.c
    size = sum((func.coalesce(func.length(table[name]), 0) for name in _CONTENT), start=literal(0))
    conditions: list[ColumnElement[bool]] = [
        table.project_id == choice.project_id,
        table.created_at < choice.until,
    ]
    if choice.since is not None:
        conditions.append(table.created_at >= choice.since)
    if choice.key_id is not None:
        conditions.append(table.key_id == choice.key_id)
    if choice.model is not None:
        conditions.append(table.model == choice.model)
    if after is not None:
        conditions.append(tuple_(table.created_at, table.id) > tuple_(*map(literal, after)))
    labels = interaction_labels.c
    for name, value in choice.labels:
        labelled = select(labels.interaction_id).where(
            labels.project_id == choice.project_id, labels.name == name, labels.value == value
        )
        conditions.append(table.id.in_(labelled))
    oldest_first = (table.created_at, table.id)
    return select(*oldest_first, size).where(*conditions).order_by(*oldest_first).limit(_PAGE)


def _exported(row: Row[Any]) -> Exported:
    fields = row._asdict()
    also = {name: fields.pop(name) for name in _ALSO}
    return Exported(interaction(fields), **also)
