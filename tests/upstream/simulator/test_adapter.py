import asyncio
import time
from typing import Any

import orjson
import pytest

from app.core import events
from app.core.events import Event
from app.core.fold import Fold
from app.core.model import Json, Request, Turn
from app.errors import ApiError, InvalidRequest
from app.upstream.adapter import Adapter
from app.upstream.simulator.adapter import SimulatorAdapter
from tests.support import PATIENCE
from tests.upstream.simulator.asking import WEATHER, ask, user

ADAPTER: Adapter = SimulatorAdapter("sim")


def turn(*given: str | Json, stream: bool = True, model: str = "m", **options: Any) -> Turn:
    steps = [user(step) if isinstance(step, str) else step for step in given]
    return Turn(Request(input=steps, model=model, stream=stream, options=options), orjson.dumps(steps))


async def run(asked: Turn) -> tuple[list[Event], ApiError | None]:
    """The events that came, and what ended them if it was not their end."""
    heard: list[Event] = []
    try:
        async for event in ADAPTER.run(asked):
            heard.append(event)  # noqa: PERF401 - what came before an error counts
    except ApiError as error:
        return heard, error
    return heard, None


def fold(heard: list[Event]) -> Fold:
    folded = Fold()
    for event in heard:
        folded.add(event)
    return folded


@pytest.mark.parametrize("stream", [True, False])
async def test_it_answers_any_model(stream):
    heard, error = await run(turn("Hello", stream=stream, model="whatever-9"))
    folded = fold(heard)
    assert error is None
    assert folded.steps() == ask("Hello").steps
    assert folded.status == "completed"
    assert [heard[0].type, heard[-1].type] == [events.CREATED, events.COMPLETED]
    assert heard[-1].fields["interaction"]["model"] == "whatever-9"
    assert heard[-1].fields["interaction"]["id"] == heard[0].fields["interaction"]["id"] == ""


async def test_it_answers_any_agent():
    steps = [user("Hello")]
    heard, _ = await run(Turn(Request(input=steps, agent="researcher"), orjson.dumps(steps)))
    assert heard[0].fields["interaction"]["agent"] == "researcher"


async def test_a_whole_answer_is_not_cut_into_deltas():
    heard, _ = await run(turn("Hello [[sim tokens=500]]", stream=False))
    assert len([event for event in heard if event.type == events.STEP_DELTA]) == 2


async def test_a_conversation_with_a_function():
    asked = user("The weather in Paris?")
    first = fold((await run(turn(asked, tools=[WEATHER])))[0])
    assert first.status == "requires_action"
    thought, call = first.steps()
    result = {"type": "function_result", "call_id": call["id"], "name": "get_weather", "result": "sunny"}
    second = fold((await run(turn(asked, thought, call, result)))[0])
    assert "get_weather returned sunny." in second.steps()[-1]["content"][0]["text"]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_refusal_is_an_error(stream):
    heard, error = await run(turn("[[sim status=429 retry_after=3]]", stream=stream))
    assert heard == []
    assert error is not None
    assert (error.status, error.code, error.headers) == (429, "rate_limit_exceeded", {"retry-after": "3"})


@pytest.mark.parametrize("number", [0, 1, 5, 10])
async def test_a_broken_connection_comes_after_so_many_events(number):
    whole, _ = await run(turn(f"Hello [[sim fail_after={number + 1_000}]]"))
    heard, error = await run(turn(f"Hello [[sim fail_after={number}]]"))
    assert len(whole) == 10
    assert [event.type for event in heard] == [event.type for event in whole[:number]]
    assert error is not None
    assert (error.status, error.code) == (502, "bad_gateway")


@pytest.mark.parametrize("number", [0, 3])
async def test_a_stream_can_end_too_early(number):
    heard, error = await run(turn(f"Hello [[sim drop_after={number} fail_after={number + 1}]]"))
    assert (len(heard), error) == (number, None)


@pytest.mark.parametrize("number", [0, 6])
async def test_a_stream_can_end_with_an_error(number):
    heard, error = await run(turn(f"Hello [[sim error_after={number}]]"))
    assert (len(heard), error) == (number + 1, None)
    assert heard[-1].type == events.ERROR
    assert fold(heard).error == heard[-1].fields["error"]
    assert heard[-1].fields["error"]["code"] == "service_unavailable"


@pytest.mark.parametrize(("order", "status"), [("error_after=50", 503), ("fail_after=50", 502)])
async def test_a_unary_answer_fails_as_a_whole(order, status):
    heard, error = await run(turn(f"Hello [[sim {order}]]", stream=False))
    assert heard == []
    assert error is not None
    assert error.status == status


async def test_a_unary_answer_can_stay_away():
    assert await run(turn("Hello [[sim drop_after=50]]", stream=False)) == ([], None)


@pytest.mark.parametrize(("order", "number"), [("hang", 0), ("hang_after=4", 4), ("hang_after=10", 10)])
async def test_silence_lasts(order, number):
    upstream = ADAPTER.run(turn(f"Hello [[sim {order}]]"))
    for _ in range(number):
        await asyncio.wait_for(anext(upstream), PATIENCE)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(upstream), 0.05)


async def test_a_unary_answer_can_hang():
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await run(turn("Hello [[sim hang_after=50]]", stream=False))


@pytest.mark.parametrize("stream", [True, False])
async def test_deltas_take_their_time(stream):
    begun = time.monotonic()
    await run(turn("Hello [[sim tokens=20 thoughts=0 delay_ms=5]]", stream=stream))
    assert time.monotonic() - begun >= 0.1


async def test_a_long_answer_leaves_room_for_others():
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(others())
    await run(turn("Hello [[sim tokens=5000]]"))
    task.cancel()
    assert turns > 50


@pytest.mark.parametrize(
    "steps", [b"", b"{}", b"[1]", b"[]", b'[{"type":"user_input","content":"[[sim x]]"}]']
)
async def test_what_is_no_conversation_is_refused(steps):
    with pytest.raises(InvalidRequest):
        await anext(aiter(ADAPTER.run(Turn(Request(input=[], model="m"), steps))))


async def test_it_can_be_closed():
    await ADAPTER.close()
    assert ADAPTER.name == "sim"
    assert SimulatorAdapter().name == "simulator"
