"""Rows P11 and P15 of the fault list: clocks that disagree, and faults of ours that nobody foresaw."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import select

from app.auth.caller import Caller
from app.auth.ownership import Ownership
from app.core import prices
from app.core.events import Event
from app.core.model import Kept, Request, Turn
from app.runs.accounts import Accounts
from app.runs.admission import Admission
from app.runs.affinity import Affinity
from app.runs.engine import Engine
from app.runs.execution import Executor
from app.runs.takeover import Takeover
from app.runs.wakeups import Wakeups
from app.runs.worker import Worker
from app.settings import Settings
from app.store import notices
from app.store.books import Books
from app.store.budgets import Budgets
from app.store.claims import Claims
from app.store.database import Database
from app.store.interactions import Interactions
from app.store.ledger import Ledger
from app.store.resources import Resources
from app.store.runs import Runs
from app.store.schema import usage_ledger
from app.upstream.routing import Routes
from tests.conftest import GatewayFactory
from tests.support import PATIENCE
from tests.support.aged import PROJECT, Aged
from tests.support.client import Client
from tests.support.runs import QUICK, SAID, STEP, STREAM, begin, ended, written
from tests.support.upstream import HANG, Pause, ScriptedUpstream, sse

ME = Caller(PROJECT, None, None)
SECRET = "what only a programmer may see"


class Faulty:
    """An adapter with a mistake in it: some runs meet it after their first events, some never."""

    name = "faulty"

    async def run(self, turn: Turn) -> AsyncGenerator[Event]:
        """Say something, then fail in a way that no adapter may."""
        for fields in SAID:
            if "fault" in str(turn.request.input) and fields["event_type"] == "step.stop":
                raise ZeroDivisionError(SECRET)
            yield Event(fields["event_type"], fields)

    def keeps(self, _request: Request) -> bool:
        """No."""
        return False

    async def cancel(self, _kept: Kept) -> None:
        """Nothing is kept."""

    async def forget(self, _kept: Kept) -> None:
        """Nothing is kept."""

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
async def engine(database: Database, database_url: str) -> AsyncIterator[Engine]:
    """The engine of a process, with its worker, before a faulty adapter."""
    await Aged(database).begin()
    settings = Settings(database_url=database_url)
    async with AsyncExitStack() as stack:
        wakeups = await stack.enter_async_context(Wakeups(notices.of(database_url)))
        claims = Claims(database, "own_here", 30_000)
        books = Books(Interactions(database), Runs(database), claims)
        affinity = Affinity(Ownership(Resources(database), frozenset(), enforced=False), {})
        accounts = Accounts(Budgets(database), Ledger(database), prices.parse(""), 1)
        executor = Executor(books, affinity, accounts, wakeups, lambda: None, settings)
        routes, background = Routes([(["*"], Faulty())]), Admission(1, 1, 0, 0)
        takeover = Takeover(books, executor, routes, background)
        worker = Worker(claims, takeover, executor.live, background, wakeups, settings.runs)
        looking = asyncio.create_task(worker.run())
        yield Engine(
            "own_here", books, executor, takeover, routes, affinity, accounts, background, wakeups, settings
        )
        looking.cancel()
        with suppress(asyncio.CancelledError):
            await looking
        await executor.close()


async def test_p15_a_fault_of_ours_fails_the_run_and_the_worker_lives(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """One place only: what comes after the fault gets its turn, and is no worse for it."""
    begun = [
        await engine.begin(ME, request(text), None)
        for text in ("fault 1", "well", "fault 2", "well again", "fault 3")
    ]
    interactions = engine.books.interactions
    for number, each in enumerate(begun):
        async with asyncio.timeout(PATIENCE):
            while (found := await interactions.get(PROJECT, each.id)) is None or found.status in {
                "queued",
                "in_progress",
            }:
                await asyncio.sleep(0.02)
        if number % 2:
            assert (found.status, found.error) == ("completed", None)
            continue
        assert found.status == "failed"
        assert found.error is not None
        said = found.error.decode()
        incident = re.search(r"Incident ([0-9a-f]{12})\.", said)
        assert incident, said
        assert SECRET not in said
        assert "ZeroDivision" not in said
        assert incident[1] in {getattr(record, "fields", {}).get("incident") for record in caplog.records}
        [*batches] = await engine.books.runs.events(PROJECT, each.id, 0)
        assert b"".join(batch.frames for batch in batches).count(b"event: error\n") == 1
    assert engine.executor.live == {}
    assert engine.background.free == 1


async def test_d1_a_run_whose_row_could_not_be_written_is_in_the_ledger_all_the_same(
    engine: Engine, database: Database
) -> None:
    """Its project was deleted while it was asked for; the upstream has been called."""
    caller = Caller("prj_gone", None, None)
    slot = engine.background.try_enter(caller.project_id)
    assert slot is not None
    run = await engine.start(caller, replace(request("well"), background=False), slot, None)
    assert await run.finished is None
    query = select(usage_ledger.c.call_id, usage_ledger.c.status)
    async with asyncio.timeout(20):
        while not (rows := await database.read(lambda connection: [*map(tuple, connection.execute(query))])):
            await asyncio.sleep(0.02)
    assert rows == [(run.id, "failed")]


def request(text: str) -> Request:
    return Request(
        input=[{"type": "user_input", "content": [{"type": "text", "text": text}]}],
        model="m",
        agent=None,
        previous_interaction_id=None,
        store=True,
        stream=False,
        background=True,
        options={},
    )


FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketime.so.1")), None)


@pytest.mark.skipif(FAKETIME is None, reason="NO LIBFAKETIME: clocks that disagree are not tried")
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("hours", [1, -1])
async def test_p11_a_replica_whose_clock_is_wrong(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream, hours: int
) -> None:
    """On PostgreSQL only: whatever uses one SQLite file shares the clock of one machine."""
    shifted = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": f"{hours:+}h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    right, wrong = await asyncio.gather(
        asyncio.to_thread(start_gateway, upstream.url, **QUICK),
        asyncio.to_thread(start_gateway, upstream.url, **QUICK, **shifted),
    )
    upstream.script(STREAM + sse(*SAID[:4]), Pause(4), sse(*SAID[4:]))
    key = right.new_key("default")
    async with Client(right, key) as here, Client(wrong, key) as there:
        found = [await begin(client) for client in (here, there)]
        dates = [(await here.get(each)).json()["created"][:13] for each in found]
        assert dates[0] != dates[1], "the clock is not shifted, and this test shows nothing"
        for each in found:
            done = await ended(here, each)
            assert (done["status"], done["steps"][1:]) == ("completed", [STEP])
        assert len(upstream.requests) == 2, "a run was taken from its owner"
        upstream.rescript(STREAM + sse(*SAID[:2]), HANG)
        left = await begin(there, input="to be taken over")
        await written(right, condition=f"interaction_id = '{left}'")
        upstream.rescript(STREAM + sse(*SAID))
        wrong.kill()
        assert (await ended(here, left))["status"] == "completed"
