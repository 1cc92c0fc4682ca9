"""Reports of what was used: calls added up by day, project, key, model and label.

A call is in what has been added up or is read by itself, never both: it is marked in the transaction
that adds it up. One that may still end waits for that, but no longer than what makes it is kept.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Text,
    bindparam,
    case,
    cast,
    false,
    func,
    literal,
    null,
    or_,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from app.core import status
from app.core.listing import ALL, Span
from app.core.usage import COUNTED
from app.store.clock import moment
from app.store.pages import page
from app.store.schema import projects, usage_days, usage_ledger

OPEN = status.IN_PROGRESS
"""The status of a call that goes on, or that nobody has told the end of yet."""

_DAY_MS = 86_400_000
OPEN_MS = 8 * _DAY_MS
"""For how long a call may be open: upstreams keep batches for a few days."""
_UNTOLD = "unknown"
"""The status of a call that was open for so long."""
_AT_ONCE = 2000
_SUMS = ("calls", "unpriced", *COUNTED, "cost")


class Wanted(NamedTuple):
    """Which calls a report is about; days are counted from 1 January 1970, and `until` is one of them."""

    project_id: str | None = None
    key_id: str | None = None
    model: str | None = None
    label: str | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The calls of a group: how many there are, and what they used; `unpriced` of them have no cost."""

    group: str
    calls: int
    unpriced: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    thought_tokens: int
    tool_use_tokens: int
    total_tokens: int
    grounding_calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum(Counts):
    """The same, and what those cost that had a price, in millionths of a US dollar."""

    cost: int


_FRESH = usage_ledger.c.rolled_up.is_(False)
_DAY = (usage_ledger.c.at // _DAY_MS).label("day")
_CLOSED = or_(usage_ledger.c.status != OPEN, usage_ledger.c.at <= moment() - OPEN_MS)
_SOME = (
    select(usage_ledger, _DAY)
    .where(_FRESH, _CLOSED)
    .order_by(usage_ledger.c.at)
    .limit(literal(_AT_ONCE))
    .with_for_update(skip_locked=True)
)
_MARK = (
    update(usage_ledger)
    .where(usage_ledger.c.call_id.in_(bindparam("calls", expanding=True)))
    .values(
        rolled_up=True, status=case((usage_ledger.c.status == OPEN, _UNTOLD), else_=usage_ledger.c.status)
    )
)


def _added_up(dialect: Any) -> Any:
    statement = dialect.insert(usage_days)
    return statement.on_conflict_do_update(
        index_elements=list(usage_days.primary_key.columns),
        set_={name: usage_days.c[name] + statement.excluded[name] for name in _SUMS},
    )


_ADD = {dialect.dialect.name: _added_up(dialect) for dialect in (postgresql, sqlite)}


def roll_up(connection: Connection, batch: Sequence[None]) -> Sequence[bool]:
    """Add some calls up; False when there are none left."""
    rows = connection.execute(_SOME).all()
    groups: dict[tuple[Any, ...], Counter[str]] = {}
    for row in rows:
        for label in ("", *_labels(row.labels)):
            key = (row.day, row.project_id, row.key_id or "", row.model or "", label)
            groups.setdefault(key, Counter()).update(_counted(row))
    if rows:
        names = ("day", "project_id", "key_id", "model", "label")
        sums = [
            {**dict(zip(names, key, strict=True)), **{name: groups[key][name] for name in _SUMS}}
            for key in sorted(groups)
        ]
        connection.execute(_ADD[connection.dialect.name], sums)
        connection.execute(_MARK, {"calls": [row.call_id for row in rows]})
    return [len(rows) == _AT_ONCE] * len(batch)


def _counted(row: Row[Any]) -> dict[str, int]:
    counts = {name: getattr(row, name) for name in COUNTED}
    return {"calls": 1, "unpriced": int(row.cost is None), "cost": row.cost or 0, **counts}


def _labels(text: bytes | None) -> Iterator[str]:
    """The labels of a call, each as "name=value"."""
    if text is not None:
        yield from (f"{name}={value}" for name, value in orjson.loads(text).items())


_GROUPS = {"day": "day", "project": "project_id", "key": "key_id", "model": "model", "label": "label"}
_BY_CODE = Text().with_variant(Text(collation="C"), "postgresql")
"""Text in the order in which Python has it, too, which puts the two halves together."""
_NO_LABELS = cast(null(), usage_ledger.c.labels.type).label("labels")


def report(connection: Connection, wanted: Wanted, by: str, span: Span = ALL) -> list[Sum]:
    """The sums by day, project, key, model or label; by label, calls that have any, once for each.

    Projects go by their names, and by their ids where they are gone. A span begins behind a group. Both
    halves are read in one statement, so that no call is between them.
    """
    halves = _rolled_up(wanted, by, span), _since(wanted, by, span)
    rows = connection.execute(union_all(*(select(half.subquery()) for half in halves))).all()
    sums = _merged(rows, wanted, by)
    behind = [each for each in sorted(sums) if span.after is None or each > span.after[0]]
    return [Sum(group=str(group), **sums[group]) for group in behind[: span.limit]]


def _rolled_up(wanted: Wanted, by: str, span: Span) -> Select[Any]:
    columns = usage_days.c
    if wanted.label is not None:
        labelled = columns.label == wanted.label
    else:
        labelled = columns.label != "" if by == "label" else columns.label == ""
    statement = _summed(true(), columns, _NO_LABELS, by).where(labelled, *_chosen(columns, wanted))
    return page(statement, [_group(columns, by)], span)


def _since(wanted: Wanted, by: str, span: Span) -> Select[Any]:
    columns = usage_ledger.c
    # The same columns as above, one row for each call.
    calls = (
        select(
            _DAY,
            columns.project_id,
            *(func.coalesce(columns[name], "").label(name) for name in ("key_id", "model")),
            literal("").label("label"),
            columns.labels,
            literal(1).label("calls"),
            case((columns.cost.is_(None), 1), else_=0).label("unpriced"),
            *(columns[name] for name in COUNTED),
            func.coalesce(columns.cost, 0).label("cost"),
        )
        .where(_FRESH)
        .subquery()
    )
    by_label = _by_label(wanted, by)
    labels = calls.c.labels if by_label else _NO_LABELS
    statement = _summed(false(), calls.c, labels, by).where(*_chosen(calls.c, wanted))
    if by_label:  # each row counts in several groups, or in none
        return statement.group_by(calls.c.labels)
    return page(statement, [_group(calls.c, by)], span)


def _summed(rolled_up: ColumnElement[bool], columns: Any, labels: ColumnElement[Any], by: str) -> Select[Any]:
    group = _group(columns, by)
    sums = [_sum(columns[name]).label(name) for name in _SUMS]
    statement = select(rolled_up.label("rolled_up"), group.label("group"), labels, *sums).group_by(group)
    return (
        statement.outerjoin(projects, projects.c.id == columns.project_id) if by == "project" else statement
    )


def _group(columns: Any, by: str) -> ColumnElement[Any]:
    group: ColumnElement[Any] = columns[_GROUPS[by]]
    if by == "day":
        return group
    return cast(func.coalesce(projects.c.name, group) if by == "project" else group, _BY_CODE)


def _sum(column: ColumnElement[Any]) -> ColumnElement[int]:
    return cast(func.sum(column), usage_days.c.calls.type)


def _chosen(columns: Any, wanted: Wanted) -> list[ColumnElement[bool]]:
    same = [
        columns[name] == value
        for name in ("project_id", "key_id", "model")
        if (value := getattr(wanted, name)) is not None
    ]
    since = [] if wanted.since is None else [columns.day >= wanted.since]
    return same + since + ([] if wanted.until is None else [columns.day <= wanted.until])


def _merged(rows: Sequence[Row[Any]], wanted: Wanted, by: str) -> dict[Any, Counter[str]]:
    sums: dict[Any, Counter[str]] = {}
    for row in rows:
        counts = {name: getattr(row, name) for name in _SUMS}
        for group in _groups_of(row, wanted, by):
            sums.setdefault(group, Counter()).update(counts)
    return sums


def _by_label(wanted: Wanted, by: str) -> bool:
    """Whether it matters which labels a call has."""
    return by == "label" or wanted.label is not None


def _groups_of(row: Row[Any], wanted: Wanted, by: str) -> Iterator[Any]:
    """The groups that a row counts in: calls with several labels count once for each."""
    if row.rolled_up or not _by_label(wanted, by):
        yield row.group
        return
    labels = [label for label in _labels(row.labels) if wanted.label in (None, label)]
    yield from labels if by == "label" else [row.group for _ in labels]
