"""Long answers: the usage of all their hops is added up, of every modality and tool."""

from collections.abc import AsyncGenerator
from typing import Any

from app.core import events
from app.core.events import Event
from app.upstream.hops import hops

FIRST = {
    "total_tokens": 10,
    "total_output_tokens": 4,
    "output_tokens_by_modality": [{"modality": "text", "tokens": 1}, {"modality": "image", "tokens": 3}],
    "grounding_tool_count": [{"type": "google_search", "count": 2}],
    "said_once": "a",
}
SECOND = {
    "total_tokens": 5,
    "total_output_tokens": 2,
    "output_tokens_by_modality": [{"modality": "text", "tokens": 2}, "odd"],
    "grounding_tool_count": [{"type": "google_search", "count": 1}, {"type": "google_maps", "count": 1}],
    "said_once": "b",
}


async def test_what_all_hops_have_used_is_what_the_answer_has_used() -> None:
    asked: list[str | None] = []

    async def ask(token: str | None) -> AsyncGenerator[Event]:
        asked.append(token)
        yield events.created({})
        if token is None:
            more = {"status": "requires_continuation", "continuation_token": "t", "usage": FIRST}
            yield events.completed(more)
        else:
            yield events.completed({"status": "completed", "usage": SECOND})

    heard = [event async for event in hops(ask)]
    assert [event.type for event in heard] == [events.CREATED, events.STATUS_UPDATE, events.COMPLETED]
    assert heard[1].fields["usage"] == FIRST
    usage: dict[str, Any] = heard[-1].fields["interaction"]["usage"]
    assert asked == [None, "t"]
    assert usage == {
        "total_tokens": 15,
        "total_output_tokens": 6,
        "output_tokens_by_modality": [{"modality": "text", "tokens": 3}, {"modality": "image", "tokens": 3}],
        "grounding_tool_count": [{"type": "google_search", "count": 3}, {"type": "google_maps", "count": 1}],
        "said_once": "b",
    }


async def test_a_hop_that_does_not_say_what_it_used_is_not_told_to_have_used_nothing() -> None:
    async def ask(token: str | None) -> AsyncGenerator[Event]:
        yield events.created({})
        if token is None:
            yield events.completed({"status": "requires_continuation", "continuation_token": "t"})
        else:
            yield events.error("api_error", "No.")

    assert [event.type async for event in hops(ask)] == [events.CREATED, events.ERROR]
