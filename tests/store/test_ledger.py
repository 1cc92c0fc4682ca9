"""The ledger: what was used adds up, and reports read what has been added up."""

import secrets
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from sqlalchemy import delete, insert, select

from app.core.listing import Span
from app.core.usage import Usage
from app.store.database import Database
from app.store.keys import Keys, Project
from app.store.ledger import Charge, Ledger
from app.store.reports import OPEN, Sum, Wanted
from app.store.schema import usage_days, usage_ledger

DAY_MS = 86_400_000
TODAY = 20_700
MANY = 100_000


def call(number: int, **fields: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {
        "call_id": f"call_{number}_{secrets.token_hex(4)}",
        "at": (TODAY - number % 30) * DAY_MS + number % DAY_MS,
        "project_id": f"prj_{number % 3}",
        "key_id": f"key_{number % 7}" if number % 7 else None,
        "kind": "interaction",
        "model": f"model-{number % 5}",
        "status": "completed",
        "input_tokens": number % 100,
        "cached_tokens": 0,
        "output_tokens": 2,
        "thought_tokens": 1,
        "tool_use_tokens": 0,
        "total_tokens": number % 100 + 3,
        "grounding_calls": 0,
        "labels": orjson.dumps({"team": "red" if number % 2 else "blue", "tier": "1"})
        if number % 4
        else None,
        "cost": None if number % 5 == 0 else number % 100,
        "rolled_up": False,
    }
    return usual | fields


async def fill(database: Database, calls: list[dict[str, Any]]) -> None:
    def write(connection: Any, batch: Any) -> list[None]:
        for each in batch:
            connection.execute(insert(usage_ledger), each)
        return [None] * len(batch)

    for first in range(0, len(calls), 20_000):
        await database.write(write, calls[first : first + 20_000])


async def roll_up(ledger: Ledger) -> None:
    while await ledger.roll_up():
        pass


async def rolled_up(database: Database) -> int:
    query = select(usage_days.c.calls).where(usage_days.c.label == "")
    return sum(await database.read(lambda connection: list(connection.scalars(query))))


def expected(calls: list[dict[str, Any]], by: str) -> dict[str, tuple[int, int, int, int]]:
    """Calls, unpriced, tokens and cost of each group, counted in the plainest way."""
    sums: dict[str, list[int]] = {}
    for each in calls:
        labels = orjson.loads(each["labels"] or b"{}")
        groups = {
            "day": [str(each["at"] // DAY_MS)],
            "project": [each["project_id"]],
            "key": [each["key_id"] or ""],
            "model": [each["model"]],
            "label": [f"{name}={value}" for name, value in labels.items()],
        }[by]
        for group in groups:
            one = sums.setdefault(group, [0, 0, 0, 0])
            for place, more in enumerate((1, each["cost"] is None, each["total_tokens"], each["cost"] or 0)):
                one[place] += more
    return {group: (one[0], one[1], one[2], one[3]) for group, one in sums.items()}


def found(report: list[Sum]) -> dict[str, tuple[int, int, int, int]]:
    return {each.group: (each.calls, each.unpriced, each.total_tokens, each.cost) for each in report}


def chosen(calls: list[dict[str, Any]], **same: Any) -> Iterator[dict[str, Any]]:
    return (each for each in calls if all(each[name] == value for name, value in same.items()))


@pytest.mark.parametrize("share", [0, 1, 2])
async def test_a_report_is_what_is_rolled_up_and_what_is_not(database: Database, share: int) -> None:
    ledger, calls = Ledger(database), [call(number) for number in range(500)]
    await fill(database, calls[: 250 * share])
    await roll_up(ledger)
    await fill(database, calls[250 * share :])
    assert await rolled_up(database) == 250 * share
    for by in ("day", "project", "key", "model", "label"):
        assert found(await ledger.report(Wanted(), by)) == expected(calls, by), by
    some = list(chosen(calls, project_id="prj_1", model="model-2"))
    report = await ledger.report(Wanted(project_id="prj_1", model="model-2"), "key")
    assert found(report) == expected(some, "key")
    days = [each for each in calls if TODAY - 5 <= each["at"] // DAY_MS <= TODAY - 2]
    report = await ledger.report(Wanted(since=TODAY - 5, until=TODAY - 2), "day")
    assert found(report) == expected(days, "day")
    red = [each for each in calls if each["labels"] and b"red" in each["labels"]]
    assert found(await ledger.report(Wanted(label="team=red"), "model")) == expected(red, "model")
    report = await ledger.report(Wanted(label="team=red"), "label")
    assert found(report) == {"team=red": expected(red, "label")["team=red"]}


async def test_a_call_is_rolled_up_once(database: Database) -> None:
    ledger, calls = Ledger(database), [call(number) for number in range(100)]
    await fill(database, calls)
    for _ in range(3):
        await roll_up(ledger)
    assert await rolled_up(database) == 100
    assert found(await ledger.report(Wanted(), "project")) == expected(calls, "project")


async def test_two_processes_that_roll_up_together_count_once(database: Database, database_url: str) -> None:
    other = Database(database_url)
    calls = [call(number) for number in range(5000)]
    await fill(database, calls)
    futures = [Ledger(place).roll_up() for place in (database, other) * 4]
    for future in futures:
        await future
    await roll_up(Ledger(database))
    await other.close()
    assert found(await Ledger(database).report(Wanted(), "key")) == expected(calls, "key")


async def test_the_same_call_is_written_once(database: Database) -> None:
    ledger = Ledger(database)
    for tokens in (5, 7):
        charge = Charge(
            call_id="call_1",
            project_id="prj_1",
            key_id=None,
            kind="interaction",
            upstream=None,
            credential=None,
            model=None,
            status="completed",
            usage=Usage(total_tokens=tokens, modalities={"input": {"text": 5}}),
            labels={"a": "b"},
            cost=None,
        )
        await ledger.write(charge)
    assert found(await ledger.report(Wanted(), "label")) == {"a=b": (1, 1, 5, 0)}


async def test_a_call_that_stays_open_is_given_up_some_day_and_never_free(database: Database) -> None:
    """Until then it is reported, unpriced, and its end may come; after that nothing changes any more."""
    ledger, now = Ledger(database), int(time.time() * 1000)
    beginnings = {"call_old": now - 9 * DAY_MS, "call_new": now - 7 * DAY_MS}
    begun = {"project_id": "prj_1", "status": OPEN, "total_tokens": 0, "cost": None, "labels": None}
    await fill(database, [call(1, **begun, call_id=each, at=at) for each, at in beginnings.items()])
    await roll_up(ledger)
    assert await rolled_up(database) == 1
    assert found(await ledger.report(Wanted(), "project")) == {"prj_1": (2, 2, 0, 0)}
    assert await ledger.waiting("call_old") is None
    assert (await ledger.waiting("call_new") or [])[-1] == beginnings["call_new"]
    for each in beginnings:
        end = Charge(
            call_id=each,
            project_id="prj_1",
            key_id=None,
            kind="batchGenerateContent",
            upstream=None,
            credential=None,
            model=None,
            status="completed",
            usage=Usage(total_tokens=5),
            labels={},
            cost=3,
        )
        await ledger.write(end)
    await roll_up(ledger)
    assert found(await ledger.report(Wanted(), "project")) == {"prj_1": (2, 1, 5, 3)}
    query = select(usage_ledger.c.call_id, usage_ledger.c.status)
    rows = await database.read(lambda connection: connection.execute(query).all())
    assert {row.call_id: row.status for row in rows} == {"call_old": "unknown", "call_new": "completed"}


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_reports_stay_fast_because_they_read_the_rollup(database: Database) -> None:
    """A hundred thousand calls are a few thousand rows; and the ledger's own are not looked at."""
    ledger = Ledger(database)
    await fill(database, [call(number) for number in range(MANY)])
    await roll_up(ledger)
    rows = await database.read(lambda connection: len(connection.execute(select(usage_days.c.day)).all()))
    assert rows < MANY / 20
    before = found(await ledger.report(Wanted(), "project"))
    assert sum(each[0] for each in before.values()) == MANY

    def forget(connection: Any, batch: Any) -> list[None]:
        gone = usage_ledger.c.project_id == "prj_0", usage_ledger.c.key_id == "key_1"
        connection.execute(delete(usage_ledger).where(*gone))
        return [None] * len(batch)

    await database.write(forget, None)
    assert found(await ledger.report(Wanted(), "project")) == before


MODELS = ("Zeta", "alpha", "_x", "éa", "z", "model 10", "model-2")


@pytest.mark.parametrize("share", [0, 1, 2])
async def test_a_report_in_pages_is_the_whole_report(database: Database, share: int) -> None:
    """Also where two halves meet, and whatever the database thinks of the order of letters."""
    ledger = Ledger(database)
    for name in ("blue", "Red"):
        await Keys(database).create_project(Project(f"prj_{int(name == 'Red')}", name, 1, None))
    calls = [
        call(number, model=MODELS[number % 7], labels=orjson.dumps({MODELS[number % 5]: str(number % 3)}))
        for number in range(60)
    ]
    await fill(database, calls[: 30 * share])
    await roll_up(ledger)
    await fill(database, calls[30 * share :])
    for wanted in (Wanted(), Wanted(label="z=1"), Wanted(project_id="prj_1")):
        for by in ("day", "project", "key", "model", "label"):
            whole = await ledger.report(wanted, by)
            pages: list[Sum] = []
            after: tuple[int | str, ...] | None = None
            while page := await ledger.report(wanted, by, Span(2, after)):
                assert len(page) <= 2
                pages += page
                after = (int(page[-1].group) if by == "day" else page[-1].group,)
            assert pages == whole, (wanted, by)
    assert [each.group for each in await ledger.report(Wanted(), "project")] == ["Red", "blue", "prj_2"]
