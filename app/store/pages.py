"""Lists a page at a time: each page begins behind a position, so that what comes meanwhile shifts nothing."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, literal, tuple_

from app.core.listing import Span


def page(
    query: Select[Any], order: Sequence[ColumnElement[Any]], span: Span, *, newest: bool = False
) -> Select[Any]:
    """Those rows of the query that the span is about, in the order of these columns; `newest`: backwards.

    A position has a value for each of the columns, which together must be unique.
    """
    if span.after is not None:
        row, place = tuple_(*order), tuple_(*(literal(value) for value in span.after))
        query = query.where(row < place if newest else row > place)
    query = query.order_by(*(column.desc() if newest else column for column in order))
    return query if span.limit is None else query.limit(span.limit)
