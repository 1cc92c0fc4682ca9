"""Query plans of the sweep: it reads what is due, however much else there is."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import event

from app.core.versions import Versions
from app.store.database import Database
from app.store.erasure import Position
from app.store.fingerprints import Fingerprints
from app.store.leases import Leases
from app.store.leftovers import Leftovers
from app.store.retention import Retention
from tests.support.aged import DAY, HOUR, Aged, aged, ago

ONE = "v1_old_000001"
STEPS: dict[str, Callable[[Database], Any]] = {
    "expired": lambda database: Retention(database, "conversation", HOUR).expired(Position(1, ONE)),
    "expired by itself": lambda database: Retention(database, "interaction", HOUR).expired(Position(1, ONE)),
    "erase": lambda database: Retention(database, "conversation", HOUR).erase([ONE]),
    "erase by itself": lambda database: Retention(database, "interaction", HOUR).erase([ONE]),
    "compact": lambda database: Retention(database, "conversation", HOUR).compact(),
    "purge": lambda database: Retention(database, "conversation", HOUR).purge(),
    "leftovers": lambda database: Leftovers(database).take(),
    "fingerprints": lambda database: Fingerprints(database, [Versions("new", "old")]).some(),
    "fingerprints that hang": lambda database: Fingerprints(database, [Versions("new", "old")]).hanging(),
    "lease": lambda database: Leases(database).take("sweep", "one", HOUR),
}
WHOLE = re.compile(r"(SCAN|Seq Scan on) interaction(s|_events|_labels)\b(?! USING)")
LATE = re.compile(r"Filter: .*(expires_at|updated_at|due_at).*clock_timestamp")
"""A bound that does not end the reading of an index."""


@pytest.fixture
async def full(database: Database) -> Database:
    """4,000 interactions that live, with their logs, and 20 that have expired; what is left of 20 more."""
    past = await Aged(database).begin()
    now = ago(0)
    new = (aged(f"v1_new_{n:06}", f"v1_new_{n - 1:06}", expired=False, updated_at=now) for n in range(4000))
    await past.add(*new, events=2)
    await past.add(*(aged(f"v1_old_{n:06}", expires_at=ago(DAY) + n) for n in range(20)), events=2)

    def analyze(connection: Any, _: Any) -> list[None]:
        connection.exec_driver_sql("ANALYZE")
        return [None]

    await database.write(analyze, None)
    return database


@pytest.mark.parametrize("step", STEPS)
async def test_a_sweep_reads_what_is_due_and_no_more(full: Database, step):
    said: list[tuple[str, Any]] = []

    def listen(_connection, _cursor, statement, parameters, _context, many):
        if not statement.startswith("BEGIN"):
            said.append((statement, parameters[0] if many else parameters))

    engines = full._reader, full._writer
    for engine in engines:
        event.listen(engine, "before_cursor_execute", listen)
    await STEPS[step](full)
    for engine in engines:
        event.remove(engine, "before_cursor_execute", listen)
    how = "EXPLAIN QUERY PLAN " if full.is_sqlite else "EXPLAIN "

    def explain(connection, batch):
        if not full.is_sqlite:  # which may rightly scan a table as small as this
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        return [
            "\n".join(str(row[-1]) for row in connection.exec_driver_sql(how + statement, parameters))
            for statement, parameters in batch
        ]

    assert said
    for one in said:
        plan = await full.write(explain, one)
        assert not WHOLE.search(plan), f"{one[0]}\n{plan}"
        assert not LATE.search(plan), f"{one[0]}\n{plan}"
