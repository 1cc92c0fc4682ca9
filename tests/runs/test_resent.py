"""POSTs that SDKs send again by themselves, without any key, when they have waited for too long."""

import asyncio
import json
from typing import Any

import pytest

from tests.runs.conftest import Replicas
from tests.support.client import Client, Heard
from tests.support.records import Records
from tests.support.runs import PATH, SAID, STEP, STREAM, ended, post, slowly, until
from tests.support.upstream import HANG, Gate, ScriptedUpstream, answer, sse

PLAIN = answer({"status": "completed", "steps": [STEP]})
both = pytest.mark.parametrize("streamed", [False, True], ids=["unary", "stream"])


async def leave(replicas: Replicas, client: Client, upstream: ScriptedUpstream, **body: Any) -> str:
    """Ask, and give up once the upstream has been asked and there is a row; the id in it."""
    newest = "SELECT id FROM interactions ORDER BY created_at DESC, id DESC LIMIT 1"
    with Records(replicas.one.database_url) as records:
        rows, asked = records.count("interactions"), len(upstream.requests)
        call = asyncio.ensure_future(client.create(**body))
        await until(lambda: records.count("interactions") > rows and len(upstream.requests) > asked)
        [(found,)] = records.rows(newest)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await noticed(replicas, str(found))
    return str(found)


async def noticed(replicas: Replicas, found: str, times: int = 1) -> None:
    """Wait until the gateway has seen clients of this run leave so often: before that nobody has left."""
    left = f"target = '{found}' AND action = 'interaction.create' AND outcome = 'cancelled'"
    with Records(replicas.one.database_url) as records:
        await until(lambda: records.count("audit_log", left) == times)


@both
async def test_a_client_that_gave_up_gets_its_run_and_the_upstream_is_asked_once(
    replicas: Replicas, here: Client, behind: ScriptedUpstream, streamed: bool
) -> None:
    gate = Gate()
    behind.script(gate, *(slowly(0) if streamed else [PLAIN]))
    asked: dict[str, Any] = {"stream": streamed, "input": f"given up, {streamed}"}
    left = await leave(replicas, here, behind, **asked)
    again = asyncio.ensure_future(here.create(**asked))  # some give up more than once
    await asyncio.sleep(0.5)
    assert not again.done()
    again.cancel()
    await asyncio.gather(again, return_exceptions=True)
    await noticed(replicas, left, times=2)
    third = asyncio.ensure_future(here.create(**asked))
    gate.open()
    heard = await third
    assert (heard.status, heard.id) == (200, left)
    assert (await here.get(heard.id)).json()["steps"][1:] == [STEP]
    if streamed:
        assert heard.body == (await here.replay(heard.id)).body
    else:
        assert heard.json()["steps"] == [STEP]
    assert len(behind.requests) == 1
    # It has been read now: the same request is a new one.
    assert (await here.create(**asked)).id != heard.id
    assert len(behind.requests) == 2


@both
async def test_what_ended_unread_is_told_to_who_asks_again(
    replicas: Replicas, here: Client, behind: ScriptedUpstream, streamed: bool
) -> None:
    gate = Gate()
    behind.script(gate, *(slowly(0) if streamed else [PLAIN]))
    left = await leave(replicas, here, behind, stream=streamed, input="unread")
    gate.open()
    await ended(here, left)
    assert (await here.create(stream=streamed, input="unread")).id == left
    assert len(behind.requests) == 1


async def test_a_stream_that_was_left_in_the_middle_is_told_from_the_start(
    replicas: Replicas, here: Client, behind: ScriptedUpstream
) -> None:
    gate = Gate()
    behind.script(STREAM + sse(*SAID[:5]), gate, sse(*SAID[5:]))
    async with here.open(input="left") as stream:
        told = await stream.until(5)
    await noticed(replicas, told[0]["interaction"]["id"])
    again = asyncio.ensure_future(here.create(stream=True, input="left"))
    gate.open()
    heard = await again
    assert heard.events[:5] == told
    assert heard.done
    assert len(behind.requests) == 1


async def test_who_is_not_the_same_or_asks_otherwise_gets_a_run_of_its_own(
    replicas: Replicas, here: Client, there: Client, behind: ScriptedUpstream
) -> None:
    gate = Gate()
    behind.script(gate, PLAIN)
    behind.script(PLAIN)
    async with (
        Client(replicas.one, replicas.colleague, question=here.question) as same_project,
        Client(replicas.one, replicas.stranger, question=here.question) as other_project,
    ):
        left = await leave(replicas, here, behind)
        others: list[Heard] = [
            await same_project.create(),
            await other_project.create(),
            await there.create(),  # known in one process only
            await here.create(input="Bye"),
            await post(here, {"api-revision": "2026-01-01"}),
            await here._hear("POST", PATH, content=json.dumps(here.asked(), indent=1)),
        ]
        assert {heard.status for heard in others} == {200}
        assert left not in {heard.id for heard in others}
        assert len({heard.id for heard in others}) == 6
        gate.open()
        assert (await here.create()).id == left
    assert len(behind.requests) == 7


async def test_what_is_not_stored_is_asked_again(
    replicas: Replicas, here: Client, behind: ScriptedUpstream
) -> None:
    behind.script(HANG)
    behind.script(PLAIN)
    await leave(replicas, here, behind, store=False)
    assert (await here.create(store=False)).status == 200
    assert len(behind.requests) == 2
