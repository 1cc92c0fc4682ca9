"""Rows D1, D3, D4 and D7 of the fault list: chains through runs that go on, and very long ones."""

import asyncio
import math
import time
from typing import Any

import pytest

from app.store.database import Database
from app.store.interactions import Interactions
from tests.conftest import GatewayFactory
from tests.runs.conftest import Replicas
from tests.support import PATIENCE
from tests.support.aged import PROJECT, Aged, aged, chain
from tests.support.client import Client, without_comments
from tests.support.records import Records
from tests.support.runs import (
    PATH,
    SAID,
    STEP,
    STREAM,
    asked_for,
    begin,
    cancel,
    ended,
    kinds,
    post,
    slowly,
    until,
)
from tests.support.upstream import HANG, Pause, ScriptedUpstream, answer, sse

PLAIN = answer({"status": "completed", "steps": [STEP]})
OUTPUTS = {"api-revision": "2026-01-01"}
TURNS = 10_000


async def test_d1_a_parent_that_is_deleted_while_its_child_runs(
    here: Client, there: Client, behind: ScriptedUpstream
) -> None:
    """The child has its transcript and ends; what continues it is told which link is gone."""
    behind.script(PLAIN)
    parent = (await here.create(input="I am going to be deleted.")).id
    behind.rescript(STREAM + sse(*SAID[:4]), Pause(1), sse(*SAID[4:]))
    child = await begin(here, previous_interaction_id=parent)
    await asked_for(behind, 2)
    assert (await there.delete(parent)).status == 200
    assert (await ended(here, child))["status"] == "completed"
    assert len(behind.requests[1].json()["input"]) == 3
    for client in (here, there):
        for way in ({}, {"stream": True}, {"background": True}, {"store": False}):
            refused = await client.create(previous_interaction_id=child, **way)
            assert (refused.status, refused.json()["error"]["code"]) == (400, "failed_precondition")
            assert parent in refused.json()["error"]["message"]
    assert len(behind.requests) == 2


async def test_d1_a_child_that_waits_in_the_queue_fails_when_its_parent_is_deleted(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    gateway = await asyncio.to_thread(
        start_gateway, upstream.url, GATEWAY_RUNS__BACKGROUND="1", GATEWAY_RUNS__POLL="0.2"
    )
    upstream.script(PLAIN)
    async with Client(gateway) as client:
        parent = (await client.create()).id
        upstream.rescript(STREAM + sse(*SAID[:4]), HANG)
        first = await begin(client, input="has the only place")
        child = await begin(client, previous_interaction_id=parent)
        assert (await client.get(child)).json()["status"] == "queued"
        assert (await client.delete(parent)).status == 200
        assert (await cancel(client, first)).status == 200
        failed = await ended(client, child)
        assert failed["status"] == "failed"
        assert failed["errors"][0]["code"] in {"failed_precondition", "not_found"}
        assert parent in failed["errors"][0]["message"]
    assert len(upstream.requests) == 2
    gateway.must_be_in_order()


async def test_a_child_that_waits_in_the_queue_keeps_a_parent_that_expires(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
) -> None:
    """Expired is not erased: a conversation in use keeps its context, also when its next turn has to wait."""
    gateway = await asyncio.to_thread(
        start_gateway, upstream.url, GATEWAY_RUNS__BACKGROUND="1", GATEWAY_RUNS__POLL="0.2"
    )
    upstream.script(PLAIN)
    async with Client(gateway) as client:
        parent = (await client.create(input="first")).id
        upstream.rescript(STREAM + sse(*SAID[:4]), HANG)
        upstream.script(*slowly(0))
        first = await begin(client, input="has the only place")
        await asked_for(upstream, 2)
        child = await begin(client, previous_interaction_id=parent)
        assert (await client.get(child)).json()["status"] == "queued"
        with Records(gateway.database_url) as records:
            records.change(f"UPDATE interactions SET expires_at = 1 WHERE id = '{parent}'")
        assert (await client.get(parent)).status == 404
        assert (await cancel(client, first)).status == 200
        assert (await ended(client, child))["status"] == "completed"
    assert [len(asked.json()["input"]) for asked in upstream.requests] == [1, 1, 3]
    gateway.must_be_in_order()


@pytest.mark.parametrize("status", ["queued", "in_progress"])
async def test_d3_a_parent_that_has_not_ended(
    replicas: Replicas, here: Client, there: Client, behind: ScriptedUpstream, status: str
) -> None:
    behind.script(STREAM + sse(*SAID[:4]), HANG)
    parent = await begin(here)
    await asked_for(behind)
    if status == "queued":  # as where no process has a place for it
        with Records(replicas.one.database_url) as records:
            queued = f"status = 'queued', lease_until = {2**50}, owner = NULL"
            records.change(f"UPDATE interactions SET {queued} WHERE id = '{parent}'")
    refusals = set()
    for client in (here, there):
        for way in ({}, {"stream": True}, {"background": True}, {"store": False}):
            refused = await client.create(previous_interaction_id=parent, **way)
            assert (refused.status, refused.json()["error"]["code"]) == (400, "failed_precondition")
            refusals.add(refused.body)
    assert len(refusals) == 1
    assert len(behind.requests) == 1
    assert (await cancel(there, parent)).json()["status"] == "cancelled"
    behind.rescript(PLAIN)
    assert (await there.create(previous_interaction_id=parent)).status == 200


async def test_d4_a_chain_of_ten_thousand_turns_and_as_many_children(database: Database) -> None:
    store = await Aged(database).begin()
    line = chain(TURNS, input=b'[{"type":"user_input"}]', expires_at=2**50)
    for first in range(0, TURNS, 1000):
        await store.add(*line[first : first + 1000])
    top = line[100]["id"]
    for first in range(0, TURNS, 1000):
        await store.add(*(aged(f"v1_child_{n:06}", top, depth=101) for n in range(first, first + 1000)))
    interactions = Interactions(database)
    seconds = []
    for length in (TURNS // 10, TURNS):
        links = await interactions.chain(PROJECT, line[length - 1]["id"])
        assert [link.id for link in links] == [row["id"] for row in line[:length]]
        seconds.append(await spent(interactions, line[length - 1]["id"]))
    assert seconds[1] < 60 * seconds[0], f"ten times as long took {seconds}"
    assert len(await interactions.chain(PROJECT, "v1_child_000007")) == 102
    child = await spent(interactions, "v1_child_000007")
    assert child < seconds[1], "the other children were looked at"


async def spent(interactions: Interactions, interaction_id: str) -> float:
    """The seconds that a chain takes when nothing else gets in between: the best of some."""
    best = math.inf
    for _ in range(7):
        began = time.perf_counter()
        await interactions.chain(PROJECT, interaction_id)
        best = min(best, time.perf_counter() - began)
    return best


async def test_d4_a_conversation_past_its_limit_is_refused(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream, database: Database
) -> None:
    store = await Aged(database).begin()
    line = chain(TURNS, expires_at=2**50, input=b'[{"type":"user_input"}]')
    for first in range(0, TURNS, 1000):
        await store.add(*line[first : first + 1000])
    gateway = await asyncio.to_thread(start_gateway, upstream.url, GATEWAY_LIMITS__CHAIN_TURNS=str(TURNS))
    upstream.script(PLAIN)
    async with Client(gateway, gateway.new_key("aged"), deadline=2 * PATIENCE) as client:
        for way in ({}, {"stream": True}, {"background": True}, {"store": False}):
            refused = await client.create(previous_interaction_id=line[-1]["id"], **way)
            assert (refused.status, refused.json()["error"]["code"]) == (400, "invalid_request")
            assert str(TURNS) in refused.json()["error"]["message"]
        assert not upstream.requests
        assert (await client.create(previous_interaction_id=line[-2]["id"])).status == 200
        assert len(upstream.requests[0].json()["input"]) == TURNS
        # Ten thousand who continue the same one are no reason to be slow for the next.
        children: list[Any] = [aged(f"v1_child_{n:06}", line[0]["id"], depth=1) for n in range(TURNS)]
        for first in range(0, TURNS, 1000):
            await store.add(*children[first : first + 1000])
        assert (await client.create(previous_interaction_id=line[0]["id"])).status == 200
        assert (await client.delete(line[0]["id"])).status == 200
        assert (await client.get(line[1]["id"])).status == 200
    gateway.must_be_in_order()


async def test_d7_background_runs_in_both_dialects_and_a_chain_that_mixes_them(
    here: Client, there: Client, behind: ScriptedUpstream
) -> None:
    behind.script(Pause(0.3), *slowly(0.03))
    parent = None
    for mine, others in ((OUTPUTS, {}), ({}, OUTPUTS)):
        more: dict[str, Any] = {} if parent is None else {"previous_interaction_id": parent}
        begun = await post(here, mine, background=True, **more)
        assert ("outputs" in begun.json()) <= (mine is OUTPUTS)
        url = f"{PATH}/{begun.id}"
        streams = await asyncio.gather(
            *(
                client._hear("GET", url, params={"stream": "true"}, headers=headers)
                for client in (here, there)
                for headers in (OUTPUTS, {})
            )
        )
        assert without_comments(streams[0].body) == without_comments(streams[2].body)
        assert without_comments(streams[1].body) == without_comments(streams[3].body)
        assert kinds(streams[0].events)[-1] == "interaction.complete"
        assert kinds(streams[1].events)[-1] == "interaction.completed"
        for stream, headers in ((streams[0], OUTPUTS), (streams[1], {})):
            for event in stream.events:
                more_query = {"stream": "true", "last_event_id": event["event_id"]}
                rest = await there._hear("GET", url, params=more_query, headers=headers)
                assert without_comments(stream.body).endswith(without_comments(rest.body))
        shown = {
            name: (await there._hear("GET", url, headers=each)).json()
            for name, each in (("mine", mine), ("others", others))
        }
        in_outputs, in_steps = (shown["mine"], shown["others"])[:: 1 if mine is OUTPUTS else -1]
        assert in_outputs["outputs"] == [{"type": "text", "text": "abc"}]
        assert in_steps["steps"][-1] == STEP
        parent = begun.id
    last = await post(here, OUTPUTS, previous_interaction_id=parent, input="third")
    assert last.status == 200
    await until(lambda: len(behind.requests) == 3)
    assert [step["type"] for step in behind.requests[-1].json()["input"]] == [
        "user_input",
        "model_output",
    ] * 2 + ["user_input"]
