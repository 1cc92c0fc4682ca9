"""Agents: runs that the upstream keeps, heard over as many connections as it takes (rows U3, U4)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.core import events
from app.core.continuity import Continuity
from app.core.events import Event
from app.core.fold import Fold
from app.core.model import Kept, Request, Turn
from app.core.versions import Versions
from app.errors import ApiError
from app.settings import Runs, Timeouts
from app.upstream.client import session
from app.upstream.credentials import Credentials
from app.upstream.interactions import InteractionsAdapter
from app.upstream.kept import Patience
from tests.support.upstream import HANG, RESET, ScriptedUpstream, answer, head, sse

STREAM = head("200 OK", "text/event-stream")
HURRY = Patience(attempts=6, streams=2, pause=0.01, longest_pause=0.02, poll=0.01, usage=(0.01, 0.01))
USAGE = {"total_tokens": 7}
THOUGHT = {"type": "thought", "signature": "sig"}
ANSWER = {"type": "model_output", "content": [{"type": "text", "text": "Hello wide world"}]}
RESOURCE = {"id": "v1_up", "status": "completed", "usage": USAGE, "steps": [THOUGHT, ANSWER]}


def delta(index: int, event_id: str | None = None, **said: Any) -> dict[str, Any]:
    more = {"event_id": event_id} if event_id else {}
    return {"index": index, "delta": said, "event_type": "step.delta", **more}


def steps(base: int = 0) -> list[dict[str, Any]]:
    """The steps of the run, as a stream tells them under indices from `base` on."""
    return [
        {"index": base, "step": {"type": "thought"}, "event_type": "step.start"},
        delta(base, type="thought_signature", signature="sig"),
        {"index": base, "event_type": "step.stop"},
        {"index": base + 1, "step": {"type": "model_output"}, "event_type": "step.start"},
        delta(base + 1, f"e{base}1", type="text", text="Hello "),
        delta(base + 1, f"e{base}2", type="text", text="wide "),
        delta(base + 1, f"e{base}3", type="text", text="world"),
        {"index": base + 1, "event_type": "step.stop"},
    ]


OPENED: list[dict[str, Any]] = [
    {"interaction": {"id": "v1_up", "status": "in_progress"}, "event_type": "interaction.created"},
    {"interaction_id": "v1_up", "status": "in_progress", "event_type": "interaction.status_update"},
]
END: dict[str, Any] = {
    "interaction": {"id": "v1_up", "status": "completed", "usage": USAGE},
    "event_type": "interaction.completed",
}
RUN: list[dict[str, Any]] = [*OPENED, *steps(), END]


@asynccontextmanager
async def agent(idle: float = 5) -> AsyncIterator[tuple[ScriptedUpstream, InteractionsAdapter]]:
    async with ScriptedUpstream() as upstream, session(Timeouts(idle=idle)) as client:
        keys = Credentials("up", ["key-one"], Versions(b"secret"))
        yield upstream, InteractionsAdapter("up", client, upstream.url, keys, Runs(), HURRY)


def turn(**more: Any) -> Turn:
    options = {"webhook_config": {"uris": ["https://example.com"]}, "agent_config": {"type": "deep-research"}}
    request = Request(input=[], agent="deep-research", stream=True, options=options)
    return Turn(request, b"[]", **more)


async def heard(adapter: InteractionsAdapter, asked: Turn) -> list[Event]:
    return [event async for event in adapter.run(asked)]


def must_be_the_run(said: list[Event]) -> None:
    fold = Fold()
    for event in said:
        fold.add(event)
    assert fold.steps() == [THOUGHT, ANSWER]
    assert fold.details["usage"] == USAGE
    kinds = [event.type for event in said]
    assert kinds[0] == events.CREATED
    assert kinds.count(events.CREATED) == 1
    assert kinds.count(events.STATUS_UPDATE) <= 1
    assert kinds[-1] == events.COMPLETED


async def test_an_agent_works_in_the_background_and_is_kept() -> None:
    async with agent() as (upstream, adapter):
        upstream.script(STREAM, sse(*RUN, done=True))
        must_be_the_run(await heard(adapter, turn()))
    body = upstream.requests[0].json()
    assert (body["store"], body["background"], body["stream"]) == (True, True, True)
    assert body["agent_config"] == {"type": "deep-research"}
    assert "webhook_config" not in body


def behind(last_event_id: str) -> list[dict[str, Any]]:
    place = next(n for n, event in enumerate(RUN) if event.get("event_id") == last_event_id)
    return RUN[place + 1 :]


@pytest.mark.parametrize("ending", ["reset", "end"])
@pytest.mark.parametrize("said", range(1, len(RUN)))
async def test_u3_a_stream_that_breaks_is_resumed(said: int, ending: str) -> None:
    ids = [event["event_id"] for event in RUN[:said] if "event_id" in event]
    async with agent() as (upstream, adapter):
        upstream.script(STREAM, sse(*RUN[:said]), *([RESET] if ending == "reset" else []))
        upstream.script(STREAM, sse(*(behind(ids[-1]) if ids else RUN), done=True))
        must_be_the_run(await heard(adapter, turn()))
    line = upstream.requests[1].line
    assert line.startswith("GET /v1beta/interactions/v1_up?stream=true")
    # What a reset has overtaken has not been heard: the id is one of those that were sent.
    assert ("last_event_id" not in line) or line.split("last_event_id=")[1].split()[0] in ids


@pytest.mark.parametrize("said", range(7, len(RUN)))
async def test_u3_a_resume_that_tells_everything_again_is_told_once(said: int) -> None:
    async with agent() as (upstream, adapter):
        upstream.script(STREAM, sse(*RUN[:said]))
        upstream.script(STREAM, sse({"index": 1, "event_type": "step.stop"}, *steps(2), END, done=True))
        must_be_the_run(await heard(adapter, turn()))


@pytest.mark.parametrize(
    "refusal", ["405 Method Not Allowed", "400 Bad Request", "503 Unavailable", "404 Not Found"]
)
async def test_u3_an_upstream_that_does_not_stream_is_polled(refusal: str) -> None:
    async with agent() as (upstream, adapter):
        upstream.script(answer({"id": "v1_up", "status": "in_progress"}))
        for _ in range(1 if refusal[:3] in ("405", "400", "404") else 3):
            upstream.script(answer({"error": {"code": "no", "message": "no stream"}}, refusal))
        upstream.script(answer({"id": "v1_up", "status": "in_progress", "steps": []}))
        upstream.script(answer({**RESOURCE, "steps": [{"type": "user_input"}, THOUGHT, ANSWER]}))
        must_be_the_run(await heard(adapter, turn()))
    assert "stream" not in upstream.requests[-1].line


async def test_u4_a_resume_that_falls_silent_after_two_events_is_polled() -> None:
    async with agent(idle=0.2) as (upstream, adapter):
        upstream.script(STREAM, sse(*RUN[:6]))
        for _ in range(3):
            upstream.script(STREAM, sse(*OPENED), HANG)
        upstream.script(answer(RESOURCE))
        must_be_the_run(await heard(adapter, turn()))


async def test_u3_an_upstream_that_never_comes_back_is_given_up() -> None:
    async with agent() as (upstream, adapter):
        upstream.script(STREAM, sse(*RUN[:6]), RESET)
        upstream.script(RESET)
        with pytest.raises(ApiError) as refused:
            await heard(adapter, turn())
    assert refused.value.status in (502, 503)
    # The client asks once more by itself when a GET is reset before any answer.
    assert HURRY.attempts <= len(upstream.requests) - 1 <= 2 * HURRY.attempts


async def test_u3_a_run_that_is_gone_fails() -> None:
    async with agent() as (upstream, adapter):
        upstream.script(STREAM, sse(*RUN[:6]))
        upstream.script(answer({"error": {"code": "not_found", "message": "gone"}}, "404 Not Found"))
        with pytest.raises(ApiError, match="does not have this interaction any more"):
            await heard(adapter, turn())


@pytest.mark.parametrize("ended", [True, False])
async def test_an_error_in_a_stream_is_the_run_s_only_when_it_failed(ended: bool) -> None:
    error = {"error": {"code": "gateway_timeout", "message": "cut"}, "event_type": "error"}
    async with agent() as (upstream, adapter):
        upstream.script(STREAM, sse(*RUN[:8], error))
        upstream.script(answer({"id": "v1_up", "status": "failed" if ended else "in_progress"}))
        upstream.script(STREAM, sse(*behind("e02"), done=True))
        said = await heard(adapter, turn())
    if ended:
        assert said[-1].fields["error"]["code"] == "gateway_timeout"
    else:
        must_be_the_run(said)


async def test_usage_that_comes_late_is_fetched() -> None:
    bare = {"interaction": {"id": "v1_up", "status": "completed"}, "event_type": "interaction.completed"}
    async with agent() as (upstream, adapter):
        upstream.script(STREAM, sse(*RUN[:-1], bare, done=True))
        upstream.script(answer({"id": "v1_up", "status": "completed"}))
        upstream.script(answer(RESOURCE))
        must_be_the_run(await heard(adapter, turn()))


async def test_a_run_ends_without_usage_that_never_comes() -> None:
    bare = {"interaction": {"id": "v1_up", "status": "completed"}, "event_type": "interaction.completed"}
    async with agent() as (upstream, adapter):
        upstream.script(STREAM, sse(*RUN[:-1], bare, done=True))
        upstream.script(answer({"error": {}}, "500 Internal Server Error"))
        assert (await heard(adapter, turn()))[-1].fields["interaction"] == bare["interaction"]


async def test_an_end_that_says_queued_is_none() -> None:
    queued = {"interaction": {"id": "v1_up", "status": "queued"}, "event_type": "interaction.completed"}
    async with agent() as (upstream, adapter):
        upstream.script(STREAM, sse(*OPENED, queued, done=True))
        upstream.script(STREAM, sse(*RUN, done=True))
        must_be_the_run(await heard(adapter, turn()))


async def test_an_agent_that_knows_no_background_is_asked_without() -> None:
    async with agent() as (upstream, adapter):
        message = "background=true is not supported by this agent."
        upstream.script(answer({"error": {"code": "invalid_request", "message": message}}, "400 Bad Request"))
        upstream.script(STREAM, sse(*RUN, done=True))
        must_be_the_run(await heard(adapter, turn()))
    assert "background" not in upstream.requests[1].json()
    assert upstream.requests[1].json()["store"] is True


async def test_an_end_with_everything_inside_is_told_step_by_step() -> None:
    async with agent() as (upstream, adapter):
        upstream.script(
            STREAM, sse(*OPENED, {"interaction": RESOURCE, "event_type": "interaction.completed"})
        )
        must_be_the_run(await heard(adapter, turn()))


@pytest.mark.parametrize("whole", [True, False], ids=["from the start", "behind"])
@pytest.mark.parametrize("said", range(7, len(RUN)))
async def test_p1_a_run_is_taken_up_by_another_process(said: int, whole: bool) -> None:
    before = [Event(each["event_type"], each) for each in RUN[:said]]
    told = Continuity()
    for event in before:
        told.take(event)
    told.reconnected()
    mark = [event["event_id"] for event in RUN[:said] if "event_id" in event][-1]
    async with agent() as (upstream, adapter):
        upstream.script(STREAM, sse(*(RUN if whole else behind(mark)), done=True))
        kept = Kept("v1_up", last_event_id=mark)
        must_be_the_run([*before, *await heard(adapter, turn(kept=kept, told=told))])
    assert upstream.requests[0].line.startswith("GET /v1beta/interactions/v1_up?")
    assert f"last_event_id={mark}" in upstream.requests[0].line


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "404 Not Found"])
async def test_cancelling_what_has_ended_is_fine(status: str) -> None:
    async with agent() as (upstream, adapter):
        upstream.script(answer({}, status))
        await adapter.cancel(Kept("v1_up", credential="lent"))
        assert upstream.requests[0].line == "POST /v1beta/interactions/v1_up/cancel HTTP/1.1"
        assert upstream.requests[0].headers["x-goog-api-key"] == "lent"


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found"])
async def test_forgetting_what_is_gone_is_fine(status: str) -> None:
    async with agent() as (upstream, adapter):
        upstream.script(answer({}, status))
        await adapter.forget(Kept("v1_up"))
        assert upstream.requests[0].line == "DELETE /v1beta/interactions/v1_up HTTP/1.1"


async def test_what_cannot_be_cancelled_or_forgotten_is_said() -> None:
    async with agent() as (upstream, adapter):
        upstream.script(answer({}, "503 Service Unavailable"))
        for call in (adapter.cancel, adapter.forget):
            with pytest.raises(ApiError) as refused:
                await call(Kept("v1_up"))
            assert refused.value.status == 503


async def test_closing_the_iterator_cancels_nothing() -> None:
    async with agent() as (upstream, adapter):
        upstream.script(STREAM, sse(*RUN[:6]), HANG)
        said = adapter.run(turn())
        await anext(said)
        await said.aclose()
        await upstream.requests[0].left.wait()
        assert len(upstream.requests) == 1


def test_only_agents_are_kept() -> None:
    adapter = InteractionsAdapter.__new__(InteractionsAdapter)
    assert adapter.keeps(Request(input=[], agent="a"))
    assert not adapter.keeps(Request(input=[], model="m"))
