"""Query plans: what happens often must not read a whole table."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from sqlalchemy import event, insert

from app.core.audit import Actor, Entry
from app.core.listing import Query, Span
from app.core.versions import Versions
from app.store.audit import Audit, Question
from app.store.budgets import Budgets
from app.store.holds import Holds
from app.store.listing import Listing
from app.store.schema import interaction_events, interaction_labels, interactions
from app.store.tokens import Tokens
from tests.store.conftest import MINE, THEIRS, Store, batch, outcome
from tests.support.aged import PROJECT, Aged, chain

ONE = "v1_row000100"
OFTEN: dict[str, Callable[[Store], Any]] = {
    "get": lambda store: store.interactions.get(MINE, ONE),
    "parent": lambda store: store.interactions.parent(MINE, ONE),
    "reached": lambda store: store.interactions.reached(MINE, ONE),
    "chain": lambda store: store.interactions.chain(MINE, ONE),
    "events": lambda store: store.runs.events(MINE, ONE, 5),
    "last_seq": lambda store: store.runs.last_seq(MINE, ONE),
    "page": lambda store: Listing(store.database).page(MINE, Query(20)),
    "next page": lambda store: Listing(store.database).page(MINE, Query(20, after=(500_000, ONE))),
    "page by label": lambda store: Listing(store.database).page(MINE, Query(20, labels=(("n", "7"),))),
    "page by parent": lambda store: Listing(store.database).page(MINE, Query(20, parent_id=ONE)),
    "holder": lambda store: store.holders.of_key(Versions(b"x" * 32, b"y" * 32)),
    "append": lambda store: store.runs.append(batch(ONE, 100, 100)),
    "finish": lambda store: store.runs.finish(outcome(ONE)),
    "delete": lambda store: store.interactions.delete(MINE, ONE),
    "renew": lambda store: store.claims("own_1").renew([ONE]),
    "held": lambda store: store.claims("own_1").held([ONE]),
    "lapsed": lambda store: store.claims("own_2").lapsed(),
    "queued": lambda store: store.claims("own_2").queued(10, 5, ["prj_full"]),
    "seize": lambda store: store.claims("own_2").seize(MINE, ONE),
    "keep": lambda store: store.runs.keep(ONE, 1, "there"),
    "rewind": lambda store: store.runs.rewind(ONE, 1),
    "follow": lambda store: store.runs.follow(MINE, ONE),
    "running": lambda store: store.runs.running(MINE, "key_1", "gemini-*"),
}
WHOLE = re.compile(r"(SCAN|Seq Scan on) interaction(s|_events|_labels)\b(?! USING)")


@pytest.fixture
async def full(store: Store) -> Store:
    """A store of two projects with 4,000 ended interactions between them, and 20 that run."""
    rows = [
        {
            "id": f"v1_row{n:06}",
            "project_id": (MINE, THEIRS)[n % 2],
            "parent_id": f"v1_row{n - 2:06}" if n % 10 > 1 else None,
            "root_id": "v1_root",
            "depth": n % 10,
            "history_bytes": 0,
            "store": True,
            "background": False,
            "status": "in_progress" if n % 200 == 0 else "completed",
            "created_at": n * 1000,
            "updated_at": n * 1000,
            "expires_at": 2**50,
            "owner": f"own_{n % 3}",
            "attempt": 1,
            "lease_until": 2**50 if n % 200 == 0 else None,
            "last_seq": 2,
            "input": b"x" * 500,
        }
        for n in range(4000)
    ]
    events = [
        {"interaction_id": row["id"], "first_seq": 1, "last_seq": 2, "frames": b"x" * 100} for row in rows
    ]
    labels = [
        {"interaction_id": row["id"], "project_id": row["project_id"], "name": "n", "value": str(n % 500)}
        for n, row in enumerate(rows)
    ]

    def fill(connection, _):
        for table, made in ((interactions, rows), (interaction_events, events), (interaction_labels, labels)):
            connection.execute(insert(table), made)
        if not store.database.is_sqlite:
            connection.exec_driver_sql("ANALYZE")
        return [None]

    await store.database.write(fill, None)
    return store


async def plans(store: Store, action: Callable[[Store], Any], *, postgresql: str = "EXPLAIN ") -> list[str]:
    """The plan of every statement that this action executes."""
    said: list[tuple[str, Any]] = []

    def listen(_connection, _cursor, statement, parameters, _context, many):
        if not statement.startswith("BEGIN"):
            said.append((statement, parameters[0] if many else parameters))

    engines = store.database._reader, store.database._writer
    for engine in engines:
        event.listen(engine, "before_cursor_execute", listen)
    await action(store)
    for engine in engines:
        event.remove(engine, "before_cursor_execute", listen)
    how = "EXPLAIN QUERY PLAN " if store.database.is_sqlite else postgresql

    def explain(connection, batch_):
        return [
            "\n".join(str(row[-1]) for row in connection.exec_driver_sql(how + statement, parameters))
            for statement, parameters in batch_
        ]

    return [await store.database.write(explain, one) for one in said]


async def test_what_happens_often_uses_an_index(full: Store):
    for name, action in OFTEN.items():
        found = await plans(full, action)
        assert found, name
        for plan in found:
            assert not WHOLE.search(plan), f"{name}: {plan}"


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_a_chain_costs_what_is_in_it_whatever_is_known_of_the_table(store: Store):
    """A project of which PostgreSQL has no statistics yet is not read as a whole for each link."""
    line = chain(2000, expires_at=2**50)
    await (await Aged(store.database).begin()).add(*line)

    async def links(store: Store) -> None:
        assert len(await store.interactions.chain(PROJECT, line[-1]["id"])) == len(line)

    [plan] = await plans(store, links, postgresql="EXPLAIN (ANALYZE, BUFFERS) ")
    [pages] = re.findall(r"Buffers: shared hit=(\d+)", plan)[:1]
    assert int(pages) < 15 * len(line), plan


async def test_pages_are_read_in_the_order_of_their_index(full: Store):
    for name in ("page", "next page"):
        for plan in await plans(full, OFTEN[name]):
            assert "ix_interactions_project_created" in plan
            assert "TEMP B-TREE" not in plan
            assert "Sort" not in plan


LISTED: dict[str, tuple[Callable[[Span, Store], Any], tuple[int | str, ...], str]] = {
    "projects": (lambda span, store: store.keys.projects(span), ("n",), "projects"),
    "keys": (lambda span, store: store.keys.issued(None, span), (1, "k"), "api_keys"),
    "keys of a project": (lambda span, store: store.keys.issued(MINE, span), (1, "k"), "api_keys"),
    "holds": (lambda span, store: Holds(store.database).all(None, span), (1, "h"), "holds"),
    "holds of a project": (lambda span, store: Holds(store.database).all(MINE, span), (1, "h"), "holds"),
    "budgets": (lambda span, store: Budgets(store.database).all(None, span), (1, "b"), "budgets"),
    "tokens": (lambda span, store: Tokens(store.database).all(span), ("t",), "admin_tokens"),
    "audit": (lambda span, store: Audit(store.database).page(Question(), span), (1, "a"), "audit_log"),
    "audit of a project": (
        lambda span, store: Audit(store.database).page(Question(MINE), span),
        (1, "a"),
        "audit_log",
    ),
    "audit since": (
        lambda span, store: Audit(store.database).page(Question(since=5), span),
        (1, "a"),
        "audit_log",
    ),
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("name", LISTED)
async def test_a_page_of_a_list_is_read_in_the_order_of_an_index(store: Store, name: str):
    """Neither the first page nor another one reads the whole list, or sorts it."""
    listed, after, table = LISTED[name]
    for span in (Span(50), Span(50, after)):
        found = [plan for plan in await plans(store, partial(listed, span)) if f" {table}" in plan]
        assert found
        for plan in found:
            assert "TEMP B-TREE" not in plan, plan
            assert not re.search(rf"SCAN {table}\b(?! USING)", plan), plan


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("name", ["audit", "audit of a project", "audit since"])
async def test_a_page_of_a_long_audit_log_is_not_sorted(store: Store, name: str):
    """On PostgreSQL, which plans for what is there."""
    entries = [Entry((MINE, THEIRS)[n % 2], Actor("system", None), "test", None) for n in range(3000)]
    await Audit(store.database).write(*entries)

    def analyse(connection, _):
        connection.exec_driver_sql("ANALYZE")
        return [None]

    await store.database.write(analyse, None)
    listed, _, _ = LISTED[name]
    for span in (Span(50), Span(50, (2**50, "a"))):
        for plan in await plans(store, partial(listed, span)):
            assert "_listed on audit_log" in plan, plan
            assert "Sort" not in plan, plan
