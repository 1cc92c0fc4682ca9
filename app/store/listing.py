"""Interactions as a list: a project's own, newest first, without their content."""

from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.sql.elements import ColumnElement

from app.core.listing import Query, Span
from app.core.model import Interaction
from app.store.clock import now
from app.store.database import Database
from app.store.pages import page
from app.store.schema import interaction_labels, interactions


class Listing:
    """Reads pages of interactions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, project_id: str, query: Query) -> list[Interaction]:
        """The interactions that the query asks for; their input and output are left out."""
        statement = _select(project_id, query)
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return [Interaction(**row._mapping, input=b"[]", output=b"[]") for row in rows]


_LISTED = select(*(interactions.c[name] for name in Interaction.__slots__ if name not in ("input", "output")))


def _select(project_id: str, query: Query) -> Select[Any]:
    table = interactions.c
    conditions: list[ColumnElement[bool]] = [
        table.project_id == project_id,
        table.store,
        table.expires_at > now(),
    ]
    for column, value in (
        (table.model, query.model),
        (table.agent, query.agent),
        (table.status, query.status),
        (table.parent_id, query.parent_id),
    ):
        if value is not None:
            conditions.append(column == value)
    if query.since is not None:
        conditions.append(table.created_at >= query.since)
    if query.until is not None:
        conditions.append(table.created_at < query.until)
    conditions += [table.id.in_(_labelled(project_id, name, value)) for name, value in query.labels]
    span = Span(query.limit, query.after)
    return page(_LISTED.where(*conditions), [table.created_at, table.id], span, newest=True)


def _labelled(project_id: str, name: str, value: str) -> Select[Any]:
    labels = interaction_labels.c
    return select(labels.interaction_id).where(
        labels.project_id == project_id, labels.name == name, labels.value == value
    )
