"""Background runs: begun at once, polled, followed from any process, cancelled by any process."""

import asyncio
import json
from typing import Any

import pytest

from tests.conftest import GatewayFactory
from tests.support import PATIENCE
from tests.support.client import Client, Heard
from tests.support.gateway import Gateway
from tests.support.records import Records
from tests.support.runs import asked_for
from tests.support.upstream import HANG, Action, Gate, Pause, ScriptedUpstream, answer, head, sse, text_events

SAID = text_events("a", "b", "c")
STREAM = head("200 OK", "text/event-stream")
STEPS = [{"type": "model_output", "content": [{"text": "abc", "type": "text"}]}]
QUICK = {"GATEWAY_RUNS__LEASE": "3", "GATEWAY_RUNS__HEARTBEAT": "0.5", "GATEWAY_RUNS__POLL": "0.3"}


def slowly(pause: float = 0.05) -> list[Action]:
    """The events one by one."""
    return [action for event in SAID for action in (sse(event), Pause(pause))]


async def begin(client: Client, **body: Any) -> Heard:
    """A background run that has been begun."""
    begun = await client.create(background=True, **body)
    assert begun.status == 200, begun
    return begun


async def ended(client: Client, found: str, seconds: float = PATIENCE) -> dict[str, Any]:
    """The interaction, once it has ended."""
    async with asyncio.timeout(seconds):
        while (shown := (await client.get(found)).json())["status"] in ("queued", "in_progress"):
            await asyncio.sleep(0.02)
    return dict(shown)


async def cancel(client: Client, found: str) -> Heard:
    """What a cancel is answered."""
    return await client._hear("POST", f"/v1beta/interactions/{found}/cancel")


async def two(start: GatewayFactory, upstream: ScriptedUpstream, **more: str) -> tuple[Gateway, Gateway]:
    """Two replicas on one database."""
    settings = {**QUICK, **more}
    one, other = await asyncio.gather(*(asyncio.to_thread(start, upstream.url, **settings) for _ in range(2)))
    return one, other


async def test_it_is_answered_at_once_and_polled(scripted_gateway: Gateway, upstream: ScriptedUpstream):
    gate = Gate()
    upstream.script(STREAM, gate, *slowly(0))
    async with Client(scripted_gateway) as client:
        begun = (await begin(client)).json()
        assert begun["status"] == "in_progress"
        assert begun["object"] == "interaction"
        assert not begun.get("steps")
        assert (await client.get(begun["id"])).json()["status"] == "in_progress"
        gate.open()
        done = await ended(client, begun["id"])
        assert (done["status"], done["steps"][1:]) == ("completed", STEPS)
        assert upstream.requests[0].json()["store"] is False
        after = await client.create(previous_interaction_id=begun["id"], store=False)
        assert after.status == 200


async def test_it_is_followed_live_and_streams_itself(scripted_gateway: Gateway, upstream: ScriptedUpstream):
    upstream.script(STREAM, *slowly())
    async with Client(scripted_gateway) as client:
        streamed = await begin(client, stream=True)
        assert [event["event_type"] for event in streamed.events] == [said["event_type"] for said in SAID]
        begun = (await begin(client, input="other")).json()
        whole = await client.replay(begun["id"])
        assert [event["event_type"] for event in whole.events] == [said["event_type"] for said in SAID]
        assert whole.done
        for event in whole.events:
            rest = await client.replay(begun["id"], after=event["event_id"])
            assert whole.body.endswith(rest.body)


async def test_a_client_that_leaves_does_not_end_it(scripted_gateway: Gateway, upstream: ScriptedUpstream):
    upstream.script(STREAM, *slowly())
    async with Client(scripted_gateway) as client:
        async with client.open(background=True) as stream:
            found = (await stream.until(2))[0]["interaction"]["id"]
        assert (await ended(client, found))["status"] == "completed"


async def test_any_process_follows_and_nobody_misses_anything(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
):
    one, other = await two(start_gateway, upstream)
    upstream.script(STREAM, *slowly())
    async with Client(one) as here, Client(other, one.key) as there:
        begun = (await begin(here)).json()["id"]
        heard = await asyncio.gather(*(client.replay(begun) for client in (here, there, there, there)))
        assert len({each.body for each in heard}) == 1
        assert [event["event_type"] for event in heard[0].events] == [said["event_type"] for said in SAID]


@pytest.mark.parametrize("where", ["here", "there"])
async def test_a_silent_run_is_cancelled_by_any_process(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream, where: str
):
    one, other = await two(start_gateway, upstream)
    upstream.script(STREAM + sse(*SAID[:4]), HANG)
    async with Client(one) as here, Client(other, one.key) as there:
        begun = (await begin(here)).json()["id"]
        follower = asyncio.ensure_future(there.replay(begun))
        with Records(one.database_url) as records:
            while not records.count("interaction_events"):
                await asyncio.sleep(0.02)
        async with asyncio.timeout(PATIENCE):
            cancelled = await cancel(here if where == "here" else there, begun)
            await upstream.requests[0].left.wait()
        assert (cancelled.status, cancelled.json()["status"]) == (200, "cancelled")
        told = await follower
        assert told.events[-1]["interaction"]["status"] == "cancelled"
        assert told.done
        assert (await here.replay(begun)).body == told.body
        assert (await cancel(there, begun)).json() == cancelled.json()
        assert (await here.get(begun)).json()["status"] == "cancelled"


async def test_what_does_not_run_in_the_background_is_not_cancelled(
    scripted_gateway: Gateway, upstream: ScriptedUpstream
):
    upstream.script(STREAM, *slowly(0))
    async with Client(scripted_gateway) as client:
        done = await client.create(stream=True)
        refused = await cancel(client, done.id)
        assert (refused.status, refused.json()["error"]["code"]) == (400, "failed_precondition")
        finished = (await begin(client)).json()["id"]
        await ended(client, finished)
        refused = await cancel(client, finished)
        assert (refused.status, refused.json()["error"]["code"]) == (400, "failed_precondition")


async def test_what_finds_no_place_waits_in_the_queue_for_any_process(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
):
    one, _ = await two(start_gateway, upstream, GATEWAY_RUNS__BACKGROUND="2")
    gate = Gate()
    upstream.script(STREAM, gate, *slowly(0))
    async with Client(one) as client:
        begun = [(await begin(client, input=str(number))).json() for number in range(9)]
        assert "queued" in {each["status"] for each in begun}
        await asked_for(upstream, 4)
        gate.open()
        followed = await client.replay(begun[-1]["id"])
        assert followed.done
        assert {(await ended(client, each["id"]))["status"] for each in begun} == {"completed"}
        with Records(one.database_url) as records:
            assert records.count("interactions", "attempt = 1") == 9
            assert len(records.rows("SELECT DISTINCT owner FROM interactions")) == 2


async def test_what_waits_in_the_queue_has_a_deadline_too(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
):
    """Nobody has room for it, and still it does not wait for ever."""
    short = {**QUICK, "GATEWAY_RUNS__BACKGROUND": "0", "GATEWAY_TIMEOUTS__BACKGROUND": "0.5"}
    gateway = await asyncio.to_thread(start_gateway, upstream.url, **short)
    upstream.script(STREAM, *slowly(0))
    async with Client(gateway) as client:
        begun = (await begin(client)).json()
        assert begun["status"] == "queued"
        late = await ended(client, begun["id"])
        assert (late["status"], late["errors"][0]["code"]) == ("failed", "deadline_exceeded")
        assert not upstream.requests


async def test_d10_what_was_under_way_in_a_restored_backup_is_not_run_twice(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
):
    gateway = await asyncio.to_thread(start_gateway, upstream.url, **QUICK, GATEWAY_RUNS__BACKGROUND="1")
    upstream.script(STREAM + sse(*SAID[:4]), HANG)
    async with Client(gateway) as client:
        kept = [(await begin(client, input=str(number))).json()["id"] for number in range(3)]
        with Records(gateway.database_url) as records:
            while not records.count("interaction_events"):
                await asyncio.sleep(0.02)
            gateway.kill()
            restored = gateway.run("migrate", "--restored")
            assert (restored.returncode, restored.stderr) == (0, "")
            assert "Ended: 3." in restored.stdout
            assert records.count("interaction_events") == 0
        await asyncio.to_thread(gateway.start)
        for each in kept:
            shown = (await client.get(each)).json()
            assert (shown["status"], shown["errors"][0]["code"]) == ("failed", "aborted")
            assert (await client.replay(each)).error == shown["errors"][0]
        assert len(upstream.requests) == 1


async def test_a_run_in_the_queue_is_cancelled(start_gateway: GatewayFactory, upstream: ScriptedUpstream):
    gateway = await asyncio.to_thread(start_gateway, upstream.url, **QUICK, GATEWAY_RUNS__BACKGROUND="0")
    upstream.script(STREAM, *slowly(0))
    async with Client(gateway) as client:
        begun = (await begin(client)).json()
        assert begun["status"] == "queued"
        assert (await cancel(client, begun["id"])).json()["status"] == "cancelled"
        assert not upstream.requests


async def test_p1_a_killed_run_nobody_has_read_begins_anew(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
):
    one, other = await two(start_gateway, upstream)
    upstream.script(STREAM + sse(*SAID[:4]), HANG)
    upstream.script(STREAM, *slowly(0))
    async with Client(one) as here, Client(other, one.key) as there:
        begun = (await begin(here)).json()["id"]
        with Records(one.database_url) as records:
            while not records.count("interaction_events"):
                await asyncio.sleep(0.02)
        one.kill()
        done = await ended(there, begun)
        assert (done["status"], done["steps"][1:]) == ("completed", STEPS)
        whole = await there.replay(begun)
        assert [event["event_type"] for event in whole.events] == [said["event_type"] for said in SAID]
        assert len(upstream.requests) == 2


async def test_p1_a_killed_run_somebody_has_read_fails(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
):
    one, other = await two(start_gateway, upstream)
    upstream.script(STREAM + sse(*SAID[:4]), HANG)
    async with Client(one) as here, Client(other, one.key) as there:
        async with here.open(background=True) as stream:
            told = await stream.until(4)
            one.kill()
        done = await ended(there, told[0]["interaction"]["id"])
        assert (done["status"], done["errors"][0]["code"]) == ("failed", "aborted")
        assert len(upstream.requests) == 1


async def test_p1_a_killed_stream_without_content_goes_on_in_the_same_log(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
):
    one, other = await two(start_gateway, upstream)
    upstream.script(STREAM + sse(*SAID[:2]), HANG)
    upstream.script(STREAM, *slowly(0))
    async with Client(one) as here, Client(other, one.key) as there:
        async with here.open() as stream:
            told = await stream.until(2)
            one.kill()
        found = told[0]["interaction"]["id"]
        rest = await there.replay(found, after=told[1]["event_id"])
        assert rest.done
        whole = await there.replay(found)
        assert whole.events[:2] == told
        assert [event["event_type"] for event in whole.events].count("interaction.created") == 1
        assert (await ended(there, found))["steps"][1:] == STEPS


async def test_p3_sigterm_hands_a_background_run_over(
    start_gateway: GatewayFactory, upstream: ScriptedUpstream
):
    one, other = await two(start_gateway, upstream, GATEWAY_RUNS__DRAIN="0.5", GATEWAY_RUNS__LEASE="60")
    upstream.script(STREAM + sse(*SAID[:2]), HANG)
    upstream.script(STREAM, *slowly(0))
    async with Client(one) as here, Client(other, one.key) as there:
        begun = (await begin(here)).json()["id"]
        while not upstream.requests:
            await asyncio.sleep(0.02)
        await asyncio.to_thread(one.stop)
        assert (await ended(there, begun))["status"] == "completed"


async def test_a_long_answer_is_continued_in_the_background_and_told_as_one(
    scripted_gateway: Gateway, upstream: ScriptedUpstream
):
    usage = SAID[-1]["interaction"]["usage"]
    stops = {"status": "requires_continuation", "continuation_token": "t1", "usage": usage}
    upstream.script(STREAM, sse(*SAID[:-1], {"interaction": stops, "event_type": "interaction.completed"}))
    upstream.script(STREAM, *slowly(0))
    async with Client(scripted_gateway) as client:
        whole = await begin(client, stream=True)
        done = await ended(client, whole.id)
        assert (done["status"], done["steps"][1:]) == ("completed", STEPS * 2)
        assert done["usage"] == {name: 2 * value for name, value in usage.items()}
        assert [each["index"] for each in whole.events if each["event_type"] == "step.start"] == [0, 1]
        first, second = (asked.json() for asked in upstream.requests)
        assert "continuation_token" not in first
        assert second == {**first, "continuation_token": "t1"}


async def test_b1_what_the_first_part_of_a_long_answer_has_used_counts_though_the_second_fails(
    scripted_gateway: Gateway, upstream: ScriptedUpstream
):
    usage = SAID[-1]["interaction"]["usage"]
    stops = {"status": "requires_continuation", "continuation_token": "t1", "usage": usage}
    upstream.script(STREAM, sse(*SAID[:-1], {"interaction": stops, "event_type": "interaction.completed"}))
    upstream.script(answer({"error": {"code": 400, "message": "No."}}, status="400 Bad Request"))
    async with Client(scripted_gateway) as client:
        whole = await begin(client, stream=True, model="breaks-off")
        done = await ended(client, whole.id)
        assert (done["status"], done["usage"]) == ("failed", usage)
        assert {each["interaction_id"] for each in whole.events if "interaction_id" in each} == {whole.id}
    told = scripted_gateway.run("usage", "--model", "breaks-off", "--json")
    assert [row["total_tokens"] for row in json.loads(told.stdout)] == [usage["total_tokens"]]


async def test_in_the_foreground_the_client_continues_a_long_answer(
    scripted_gateway: Gateway, upstream: ScriptedUpstream
):
    said = {"type": "model_output", "content": [{"text": "abc", "type": "text"}]}
    upstream.script(answer({"status": "requires_continuation", "continuation_token": "t1", "steps": [said]}))
    upstream.script(answer({"status": "completed", "steps": [said]}))
    async with Client(scripted_gateway) as client:
        first = (await client.create()).json()
        assert (first["status"], first["continuation_token"]) == ("requires_continuation", "t1")
        more = await client.http.post(
            "/v1beta/interactions",
            json={"model": "m", "previous_interaction_id": first["id"], "continuation_token": "t1"},
        )
        assert more.json()["status"] == "completed"
        asked, again = (one.json() for one in upstream.requests)
        assert (again["input"], again["continuation_token"]) == (asked["input"], "t1")
