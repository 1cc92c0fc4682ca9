"""Rows P5, P6 and U14 of the fault list: two claim at once, and cancel, finish and delete meet."""

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from app.store import migrations
from tests.conftest import GatewayFactory
from tests.runs.conftest import Replicas
from tests.support import PATIENCE
from tests.support.aged import PROJECT, Aged, aged
from tests.support.client import Client, Heard, events
from tests.support.freezing import freeze
from tests.support.gateway import clean_environment
from tests.support.runs import (
    GOING,
    QUICK,
    SAID,
    STREAM,
    asked_for,
    begin,
    cancel,
    ended,
    kinds,
    must_be_whole,
    until,
    written,
)
from tests.support.upstream import HANG, Gate, Pause, ScriptedUpstream, answer, sse

_CLAIM = """
import asyncio, pathlib, sys, time
from app.store.claims import Claims
from app.store.database import Database

async def main(url, owner, sign, gate):
    database = Database(url)
    claims = Claims(database, owner, 3_600_000)
    await database.ping()
    pathlib.Path(sign).touch()
    while not pathlib.Path(gate).exists():
        time.sleep(0.0005)
    found = [one async for one in all_of(claims)]
    print(*(f"{one.id}:{one.attempt}" for one in found))
    await database.close()

async def all_of(claims):
    for take in (claims.lapsed, lambda: claims.queued(7, 100, [])):
        while claimed := await take():
            for one in claimed:
                yield one
    for number in range(30):
        if one := await claims.seize(sys.argv[5], f"v1_seized_{number:04}"):
            yield one

asyncio.run(main(*sys.argv[1:5]))
"""


def claimer(*arguments: str) -> "subprocess.Popen[str]":
    """A process that claims what it can, as soon as all are there."""
    return subprocess.Popen(
        [sys.executable, "-c", _CLAIM, *arguments, PROJECT],
        env=clean_environment(),
        cwd=Path(migrations.__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def test_p5_however_many_claim_at_once_each_run_is_claimed_once(
    database: Any, database_url: str, tmp_path: Path
) -> None:
    """Seizing, to cancel, is claiming too, but may take a run from one who has just seized it."""
    rows = [
        aged(f"v1_{kind}_{n:04}", status=status, lease_until=1, attempt=attempt, background=True, owner=None)
        for kind, status, attempt in (("lapsed", "in_progress", 1), ("queued", "queued", 0))
        for n in range(100)
    ]
    seized = [
        aged(f"v1_seized_{n:04}", status="in_progress", lease_until=2**50, background=True, owner="own_gone")
        for n in range(30)
    ]
    await (await Aged(database).begin()).add(*rows, *seized)
    gate, signs = tmp_path / "gate", [tmp_path / f"ready-{n}" for n in range(4)]
    processes = [claimer(database_url, f"own_{n}", str(sign), str(gate)) for n, sign in enumerate(signs)]
    deadline = time.monotonic() + 2 * PATIENCE
    while not all(sign.exists() for sign in signs) and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    gate.touch()
    claimed: list[str] = []
    for process in processes:
        out, complaints = await asyncio.to_thread(process.communicate, timeout=2 * PATIENCE)
        assert (process.returncode, complaints) == (0, "")
        claimed += out.split()
    assert len(claimed) == len(set(claimed)), "the same attempt of a run was given to two"
    once = [each for each in claimed if "seized" not in each]
    assert sorted(once) == sorted(f"{row['id']}:{row['attempt'] + 1}" for row in rows)
    assert {each.partition(":")[0] for each in claimed} - {row["id"] for row in rows} == {
        row["id"] for row in seized
    }


ROUNDS, AT_ONCE = 100, 10


async def test_p6_cancel_finish_and_delete_race_and_one_wins(
    here: Client, there: Client, behind: ScriptedUpstream, replicas: Replicas
) -> None:
    behind.script(STREAM + sse(*SAID[:4]), Pause(0.04), sse(*SAID[4:]))
    chance, ends = random.Random(6), []

    async def one_round() -> None:
        plan = [chance.uniform(0, 0.08) for _ in range(4)]
        either = [chance.choice((here, there)) for _ in range(4)]
        ends.append(await race(either, plan, delete=chance.random() < 0.4))

    for _ in range(ROUNDS // AT_ONCE):
        await asyncio.gather(*(one_round() for _ in range(AT_ONCE)))
    assert {"completed", "cancelled", "deleted"} <= set(ends)
    assert not replicas.count(f"status IN {GOING}")


async def race(clients: list[Client], plan: list[float], *, delete: bool) -> str:
    """One run, and everything that may end it; how it ended."""
    first, second, third, fourth = clients
    found = await begin(first)

    async def later(seconds: float, call: Any) -> Heard:
        await asyncio.sleep(seconds)
        return await call

    calls = [
        later(plan[0] / 4, second.replay(found)),
        later(plan[1], cancel(third, found)),
        later(plan[2], cancel(second, found)),
    ]
    if delete:
        calls.append(later(plan[3], fourth.delete(found)))
    followed, *answers = await asyncio.gather(*calls)
    assert {heard.status for heard in answers} <= {200, 400, 404}, answers
    if delete:
        assert answers.pop().status == 200
        for client in clients:
            assert (await client.get(found)).status == 404
            assert (await client.replay(found)).status == 404
        assert followed.status == 404 or kinds(followed.events)[-1] in {"error", "interaction.completed"}
        return "deleted"
    shown = await ended(first, found)
    whole = await fourth.replay(found)
    must_be_whole(whole)
    assert followed.body == whole.body == (await first.replay(found)).body
    assert whole.events[-1]["interaction"]["status"] == shown["status"]
    for heard in answers:
        cancelled = heard.status == 200 and heard.json()["status"] == "cancelled"
        assert cancelled == (shown["status"] == "cancelled"), heard
    return str(shown["status"])


async def test_u14_what_completes_after_our_cancel_stays_cancelled(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    """The process that runs it sleeps through the cancel; it wakes to a whole answer, and it is too late."""
    settings = {**QUICK, "GATEWAY_RUNS__LEASE": "60"}
    one, other = await asyncio.gather(
        *(asyncio.to_thread(start_gateway, upstream.url, **settings) for _ in range(2))
    )
    gate, whole_answer = Gate(), len(STREAM + sse(*SAID))
    upstream.script(STREAM + sse(*SAID[:4]), gate, sse(*SAID[4:]))
    async with Client(one) as here, Client(other, one.key) as there:
        async with here.open(background=True) as stream:
            found = (await stream.until(4))[0]["interaction"]["id"]
            await freeze(one)
            assert (await cancel(there, found)).json()["status"] == "cancelled"
            whole, kept = await there.replay(found), (await there.get(found)).json()
            gate.open()
            await until(lambda: upstream.requests[0].sent == whole_answer)
            one.signal(signal.SIGCONT)
            told = events(await stream.rest())
        assert told == whole.events
        must_be_whole(whole)
        assert whole.events[-1]["interaction"]["status"] == "cancelled"
        for client in (here, there):
            assert (await client.replay(found)).body == whole.body
            assert (await client.get(found)).json() == kept
    one.must_be_in_order()


@pytest.mark.parametrize("outcome", ["completed", "cancelled"])
async def test_u14_an_agent_that_had_completed_already_is_cancelled_here(
    here: Client, there: Client, behind: ScriptedUpstream, replicas: Replicas, outcome: str
) -> None:
    behind.script(STREAM + sse(*SAID[:4]), HANG)
    behind.script(answer({"id": "v1_upstream", "status": outcome, "outputs": []}))
    body = {"agent": "researcher", "input": "Hi", "background": True}
    found = (await here._hear("POST", "/v1beta/interactions", json=body)).id
    await asked_for(behind)
    await written(replicas.one, condition=f"interaction_id = '{found}'")
    assert (await cancel(there, found)).json()["status"] == "cancelled"
    await asked_for(behind, 2)
    assert behind.requests[1].line.split()[1].endswith("/v1_upstream/cancel")
    whole = await here.replay(found)
    must_be_whole(whole)
    assert whole.events[-1]["interaction"]["status"] == "cancelled"
    assert (await ended(here, found))["status"] == "cancelled"
