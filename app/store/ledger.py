"""The usage ledger: one row for each call of an upstream, written in the transaction that ends it.

Reports read what has been rolled up, a row for each day, project, key and model, and the calls since
then. A call is in one of the two, never in both: it is marked in the transaction that adds it up.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    case,
    cast,
    false,
    func,
    literal,
    null,
    select,
    true,
    union_all,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from app.core.usage import Usage
from app.store.clock import now
from app.store.database import Database
from app.store.reservations import settle
from app.store.schema import interactions, usage_days, usage_ledger

_DAY_MS = 86_400_000
_AT_ONCE = 2000
_COUNTS = (
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "thought_tokens",
    "tool_use_tokens",
    "total_tokens",
)
_COUNTED = (*_COUNTS, "grounding_calls")
_SUMS = ("calls", "unpriced", *_COUNTED, "cost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What is written of one call. `cost` is in millionths of a US dollar, None without a price.

    Nothing of its content, and nothing of the price table. `reserved` tells that budgets wait for it.
    """

    call_id: str
    project_id: str
    key_id: str | None
    kind: str
    upstream: str | None
    credential: str | None
    model: str | None
    status: str
    usage: Usage
    labels: Mapping[str, str]
    cost: int | None
    reserved: bool = False


class Wanted(NamedTuple):
    """Which calls a report is about; days are counted from 1 January 1970, and `until` is one of them."""

    project_id: str | None = None
    key_id: str | None = None
    model: str | None = None
    label: str | None = None
    since: int | None = None
    until: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum:
    """The calls of a group: how many, what they used and cost; `unpriced` of them are not in the cost."""

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
    cost: int


class Ledger:
    """Writes calls, adds them up, reports."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, charge: Charge) -> "asyncio.Future[None]":
        """A call that is no run, or whose run is gone: its row, once, and the end of its reservations."""
        return self._database.write(_write, charge)

    def abandon(self, charge: Charge) -> "asyncio.Future[None]":
        """A run that its process has lost: its row is for whoever has it; if it is deleted, for this one."""
        return self._database.write(_abandon, charge)

    def roll_up(self) -> "asyncio.Future[bool]":
        """Add some calls up; False when there are none left."""
        return self._database.write(_roll_up, None)

    async def report(self, wanted: Wanted, by: str) -> list[Sum]:
        """The sums by day, project, key, model or label; by label, calls that have any, once for each."""
        statement = _report(wanted, by)
        rows = await self._database.read(lambda connection: connection.execute(statement).all())
        return _merged(rows, wanted, by)


def insert_charges(connection: Connection, charges: Sequence[Charge]) -> None:
    """Write calls that end in the caller's transaction, and settle what was reserved for them."""
    if charges:
        connection.execute(_ONCE[connection.dialect.name], [_row(charge) for charge in charges])
        settle(
            connection,
            [(each.call_id, each.usage.total_tokens, each.cost or 0) for each in charges if each.reserved],
        )


def insert_orphans(connection: Connection, charges: Sequence[Charge]) -> None:
    """Write those calls whose interaction has been deleted; the others are for whoever has the run now."""
    if charges:
        ids = [charge.call_id for charge in charges]
        there = set(connection.scalars(select(interactions.c.id).where(interactions.c.id.in_(ids))))
        insert_charges(connection, [charge for charge in charges if charge.call_id not in there])


_VALUES = {
    "call_id": bindparam("call"),
    "at": now(),
    "rolled_up": False,
    **{
        name: bindparam(f"of_{name}")
        for name in (
            *("project_id", "key_id", "kind", "upstream", "credential", "model", "status"),
            *(*_COUNTED, "modalities", "labels", "cost"),
        )
    },
}
_ONCE = {
    dialect.dialect.name: dialect.insert(usage_ledger).values(_VALUES).on_conflict_do_nothing()
    for dialect in (postgresql, sqlite)
}


def _row(charge: Charge) -> dict[str, Any]:
    usage = charge.usage
    counts = {name: getattr(usage, name) for name in _COUNTED}
    names = ("project_id", "key_id", "kind", "upstream", "credential", "model", "status", "cost")
    fields = {
        **{name: getattr(charge, name) for name in names},
        **counts,
        "modalities": orjson.dumps(usage.modalities) if usage.modalities else None,
        "labels": orjson.dumps(charge.labels) if charge.labels else None,
    }
    return {"call": charge.call_id, **{f"of_{name}": value for name, value in fields.items()}}


def _write(connection: Connection, batch: Sequence[Charge]) -> Sequence[None]:
    insert_charges(connection, batch)
    return [None] * len(batch)


def _abandon(connection: Connection, batch: Sequence[Charge]) -> Sequence[None]:
    insert_orphans(connection, batch)
    return [None] * len(batch)


_FRESH = usage_ledger.c.rolled_up.is_(False)
_DAY = (usage_ledger.c.at // _DAY_MS).label("day")
_SOME = (
    select(usage_ledger, _DAY)
    .where(_FRESH)
    .order_by(usage_ledger.c.at)
    .limit(literal(_AT_ONCE))
    .with_for_update(skip_locked=True)
)
_MARK = (
    update(usage_ledger)
    .where(usage_ledger.c.call_id.in_(bindparam("calls", expanding=True)))
    .values(rolled_up=True)
)


def _added_up(dialect: Any) -> Any:
    statement = dialect.insert(usage_days)
    return statement.on_conflict_do_update(
        index_elements=list(usage_days.primary_key.columns),
        set_={name: usage_days.c[name] + statement.excluded[name] for name in _SUMS},
    )


_ADD = {dialect.dialect.name: _added_up(dialect) for dialect in (postgresql, sqlite)}


def _roll_up(connection: Connection, batch: Sequence[None]) -> Sequence[bool]:
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
    counts = {name: getattr(row, name) for name in _COUNTED}
    return {"calls": 1, "unpriced": int(row.cost is None), "cost": row.cost or 0, **counts}


def _labels(text: bytes | None) -> Iterator[str]:
    """The labels of a call, each as "name=value"."""
    if text is not None:
        yield from (f"{name}={value}" for name, value in orjson.loads(text).items())


_GROUPS = {"day": "day", "project": "project_id", "key": "key_id", "model": "model", "label": "label"}


def _report(wanted: Wanted, by: str) -> Any:
    """Both halves in one statement, so that no call is between them."""
    return union_all(_rolled_up(wanted, by), _since(wanted, by))


def _rolled_up(wanted: Wanted, by: str) -> Select[Any]:
    columns = usage_days.c
    group = columns[_GROUPS[by]]
    if wanted.label is not None:
        labelled = columns.label == wanted.label
    else:
        labelled = columns.label != "" if by == "label" else columns.label == ""
    sums = [_sum(columns[name]).label(name) for name in _SUMS]
    nothing = cast(null(), usage_ledger.c.labels.type).label("labels")
    statement = select(true().label("rolled_up"), group.label("group"), nothing, *sums)
    return statement.where(labelled, *_chosen(columns, wanted)).group_by(group)


def _since(wanted: Wanted, by: str) -> Select[Any]:
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
            *(columns[name] for name in _COUNTED),
            func.coalesce(columns.cost, 0).label("cost"),
        )
        .where(_FRESH)
        .subquery()
    )
    group = calls.c[_GROUPS[by]]
    sums = [_sum(calls.c[name]).label(name) for name in _SUMS]
    statement = select(false().label("rolled_up"), group.label("group"), calls.c.labels, *sums)
    return statement.where(*_chosen(calls.c, wanted)).group_by(group, calls.c.labels)


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


def _merged(rows: Sequence[Row[Any]], wanted: Wanted, by: str) -> list[Sum]:
    sums: dict[Any, Counter[str]] = {}
    for row in rows:
        counts = {name: getattr(row, name) for name in _SUMS}
        for group in _groups_of(row, wanted, by):
            sums.setdefault(group, Counter()).update(counts)
    return [Sum(group=str(group), **{name: sums[group][name] for name in _SUMS}) for group in sorted(sums)]


def _groups_of(row: Row[Any], wanted: Wanted, by: str) -> Iterator[Any]:
    """The groups that a row counts in: calls with several labels count once for each."""
    if row.rolled_up or (by != "label" and wanted.label is None):
        yield row.group
        return
    labels = [label for label in _labels(row.labels) if wanted.label in (None, label)]
    yield from labels if by == "label" else [row.group for _ in labels]
