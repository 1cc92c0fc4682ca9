"""Rows C5 and C12 of the fault list: thousands of followers, a thousand creates, and limits per project."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest
from sqlalchemy import event

from app.runs.follow import Followers
from app.runs.mirror import Mirrors
from app.runs.wakeups import Wakeups
from app.store import notices
from app.store.books import Books
from app.store.claims import Claims
from app.store.database import Database
from app.store.interactions import Interactions
from app.store.records import EventBatch
from app.store.runs import Runs
from tests.conftest import GatewayFactory
from tests.runs.conftest import Replicas
from tests.store.conftest import Store, new, outcome
from tests.support import PATIENCE
from tests.support.aged import Aged
from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.runs import PATH, SAID, STEP, asked_for, begin, ended, slowly, until
from tests.support.upstream import Gate, Pause, ScriptedUpstream, answer

PLAIN = answer({"status": "completed", "steps": [STEP]})
THOUSANDS = 3000


class Reads:
    """Counts the statements that read event logs."""

    def __init__(self, database: Database) -> None:
        self.count = 0
        event.listen(database._reader, "before_cursor_execute", self._executed)

    def _executed(self, _connection: object, _cursor: object, statement: str, *_: object) -> None:
        self.count += "interaction_events" in statement


async def test_c5_thousands_of_followers_are_one_reader(database: Database, database_url: str) -> None:
    """The run lives elsewhere; whoever follows it here shares one mirror of its log."""
    store = Store(database)
    await Aged(database).begin()
    run = new(project_id="prj_aged", background=True, streamed=True, followed=True)
    await store.runs.insert(run)
    watched = Database(database_url)
    books = Books(Interactions(watched), Runs(watched), Claims(watched, "own_here", 1000))
    async with Wakeups(notices.of(database_url)) as wakeups:
        mirrors = Mirrors(books, wakeups, 2**20, 0.1)
        followers = Followers(books, {}, mirrors, 15)
        first = asyncio.ensure_future(listened(followers, run.id))
        await until(lambda: mirrors._open)
        reads = Reads(watched)
        crowd = [asyncio.ensure_future(listened(followers, run.id)) for _ in range(THOUSANDS)]
        mirror, _ = mirrors._open[run.id]
        await until(lambda: mirror.followers == THOUSANDS + 1)
        for number in range(1, 11):
            frames = b'event: x\ndata: {"event_type":"x","n":%d}\n\n' % number
            assert await store.runs.append(EventBatch(run.id, 1, number, number, frames))
            await until(lambda said=number: mirror.tail.last_seq == said)  # type: ignore[misc]
        assert await store.runs.finish(outcome(run.id, last_seq=10))
        heard = {await first, *await asyncio.gather(*crowd)}
    assert len(heard) == 1
    assert next(iter(heard)).count(b"event: x\n") == 10
    assert mirrors._open == {}
    assert reads.count < 300, "every follower reads for itself"
    await watched.close()


async def listened(followers: Followers, run_id: str) -> bytes:
    return b"".join([frames async for frames in followers.stored("prj_aged", run_id, 0)])


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """A client that opens as many connections as it is asked to."""
    timeout = aiohttp.ClientTimeout(total=150)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as made:
        yield made


async def test_c5_hundreds_of_followers_at_both_replicas_do_not_slow_the_run(
    replicas: Replicas, here: Client, behind: ScriptedUpstream, session: aiohttp.ClientSession
) -> None:
    behind.script(Pause(2), *slowly(0.1))
    found = await begin(here)

    async def follow(gateway: Gateway) -> bytes:
        url, headers = f"{gateway.url}{PATH}/{found}", {"x-goog-api-key": replicas.one.key}
        async with session.get(url, params={"stream": "true"}, headers=headers) as response:
            assert response.status == 200
            return await response.read()

    crowd = [
        asyncio.ensure_future(follow(gateway))
        for gateway in (replicas.one, replicas.other)
        for _ in range(150)
    ]
    await ended(here, found)
    heard = set(await asyncio.gather(*crowd))
    assert heard == {(await here.replay(found)).body}
    assert next(iter(heard)).count(b"event: step.delta\n") == len(SAID) - 5


CREATES = 1000


async def test_c12_a_thousand_creates_at_once(
    start_gateway: GatewayFactory, session: aiohttp.ClientSession
) -> None:
    settings = {
        "GATEWAY_RUNS__CONCURRENT_PER_PROJECT": "20",
        "GATEWAY_RUNS__QUEUE": "150",
        "GATEWAY_RUNS__BACKGROUND": "10",
    }
    gateway = await asyncio.to_thread(start_gateway, **settings)
    ways: list[dict[str, object]] = [{}, {"stream": True}, {"background": True}, {"store": False}]

    async def create(number: int) -> tuple[int, str]:
        body = {"model": "m", "input": f"number {number}", **ways[number % len(ways)]}
        headers = {"x-goog-api-key": gateway.key}
        async with session.post(gateway.url + PATH, json=body, headers=headers) as response:
            text = await response.text()
            if response.status != 200:
                assert int(response.headers["retry-after"]) >= 1
                assert json.loads(text)["error"]["code"] in {"rate_limit_exceeded", "service_unavailable"}
            return response.status, text

    answers = await asyncio.gather(*(create(number) for number in range(CREATES)))
    statuses = Counter(status for status, _ in answers)
    assert set(statuses) <= {200, 429, 503}
    assert statuses[200] >= 150
    assert statuses[429] + statuses[503] > 0, "the limit was never reached"
    with Records(gateway.database_url) as records:
        await until(
            lambda: not records.count("interactions", "status IN ('queued', 'in_progress')"), 2 * PATIENCE
        )
        rows = records.rows("SELECT status, attempt, lease_until FROM interactions")
    assert Counter(rows) == {("completed", 1, None): statuses[200]}
    assert "locked" not in gateway.log() + "".join(text for _, text in answers)
    gateway.must_be_in_order()


async def test_c12_each_project_has_its_share(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    settings = {
        "GATEWAY_RUNS__CONCURRENT": "3",
        "GATEWAY_RUNS__CONCURRENT_PER_PROJECT": "2",
        "GATEWAY_RUNS__QUEUE_WAIT": "1",
    }
    gateway = await asyncio.to_thread(start_gateway, upstream.url, **settings)
    keys = await asyncio.gather(*(asyncio.to_thread(gateway.new_key) for _ in range(2)))
    gate = Gate()
    upstream.script(gate, PLAIN)
    async with Client(gateway) as one, Client(gateway, keys[0]) as two, Client(gateway, keys[1]) as three:
        mine = [asyncio.ensure_future(one.create(input=f"{n}")) for n in range(2)]
        await asked_for(upstream, 2)
        refused = await one.create(input="one too many")
        assert (refused.status, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
        assert int(refused.headers["retry-after"]) >= 1
        theirs = asyncio.ensure_future(two.create())
        await asked_for(upstream, 3)
        refused = await three.create()
        assert (refused.status, refused.json()["error"]["code"]) == (503, "service_unavailable")
        assert int(refused.headers["retry-after"]) >= 1
        gate.open()
        await mine[0]
        assert {heard.status for heard in await asyncio.gather(*mine, theirs, three.create())} == {200}
    assert len(upstream.requests) == 4
    with Records(gateway.database_url) as records:
        assert records.count("interactions") == 4


async def test_c12_background_runs_past_the_share_wait_and_run(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    gateway = await asyncio.to_thread(
        start_gateway, upstream.url, GATEWAY_RUNS__BACKGROUND_PER_PROJECT="1", GATEWAY_RUNS__POLL="0.2"
    )
    stranger = await asyncio.to_thread(gateway.new_key)
    gate = Gate()
    upstream.script(gate, *slowly(0))
    async with Client(gateway) as mine, Client(gateway, stranger) as theirs:
        begun = [await mine.create(background=True, input=f"{n}") for n in range(3)]
        assert [heard.json()["status"] for heard in begun] == ["in_progress", "queued", "queued"]
        other = await theirs.create(background=True)
        assert other.json()["status"] == "in_progress"
        gate.open()
        assert {(await ended(mine, heard.id))["status"] for heard in begun} == {"completed"}
        assert (await ended(theirs, other.id))["status"] == "completed"
