"""Answers as streams of events."""

import json
from typing import Any

from tests.sdk.scenarios.reading import (
    ask,
    deltas,
    event_ids,
    follow_up,
    kinds,
    of_kind,
    plain,
    refused,
    result,
    stream_id,
    streamed_text,
    text,
)
from tests.sdk.scenarios.tools import CLOCK, WEATHER


def a_text_is_streamed(client: Any) -> None:
    events = list(ask(client, "Tell me a story. [[sim tokens=12]]", stream=True))
    assert [event.event_type for event in events[:2]] == ["interaction.created", "interaction.status_update"]
    assert events[-1].event_type == "interaction.completed"
    assert events[-1].interaction.status == "completed"
    assert events[-1].interaction.usage.total_tokens > 0
    assert len(deltas(events, "text")) >= 12
    assert 'You said "Tell me a story."' in streamed_text(events)


def a_streamed_interaction_is_kept_like_any_other(client: Any) -> None:
    events = list(ask(client, "My name is Ada.", stream=True))
    kept = client.interactions.get(stream_id(events))
    assert kinds(kept) == ["user_input", "thought", "model_output"]
    assert text(kept) == streamed_text(events)
    assert kept.usage.total_tokens == events[-1].interaction.usage.total_tokens


def a_conversation_can_be_streamed(client: Any) -> None:
    first = list(ask(client, "My name is Ada.", stream=True))
    more = {"previous_interaction_id": stream_id(first), "stream": True}
    assert "Your name is Ada" in streamed_text(list(ask(client, "What is my name?", **more)))


def the_end_of_a_stream_is_told_when_it_can_be_continued(client: Any) -> None:
    for event in ask(client, "My name is Ada.", stream=True):
        if event.event_type == "interaction.completed":
            assert "Your name is Ada" in text(follow_up(client, event.interaction, "What is my name?"))


def every_event_has_an_id_of_its_own(client: Any) -> None:
    ids = event_ids(list(ask(client, "Hello.", stream=True)))
    assert all(ids)
    assert len(set(ids)) == len(ids)


def thoughts_are_streamed(client: Any) -> None:
    config = {"thinking_summaries": "auto"}
    events = list(ask(client, "Think. [[sim thoughts=3]]", generation_config=config, stream=True))
    summaries, (signature,) = deltas(events, "thought_summary"), deltas(events, "thought_signature")
    assert len(summaries) == 3
    assert "Think." in summaries[0].content.text
    (kept,) = of_kind(client.interactions.get(stream_id(events)), "thought")
    assert kept.signature == signature.signature
    assert [item.text for item in kept.summary] == [summary.content.text for summary in summaries]


def function_calls_are_streamed_and_answered(client: Any) -> None:
    question = "What are the weather and the time in Paris?"
    events = list(ask(client, question, tools=[WEATHER, CLOCK], stream=True))
    assert events[-1].interaction.status == "requires_action"
    starts = [event for event in events if event.event_type == "step.start"]
    calls = {event.index: event.step for event in starts if event.step.type == "function_call"}
    assert [call.name for call in calls.values()] == ["get_weather", "get_time"]
    for index in calls:
        told = [event.delta for event in events if event.event_type == "step.delta" and event.index == index]
        arguments = "".join(delta.model_dump()["arguments"] for delta in told)
        assert json.loads(arguments) == {"city": "Paris"}
    more = {"previous_interaction_id": stream_id(events), "stream": True}
    answer = list(ask(client, [result(call, "fine") for call in calls.values()], **more))
    assert "get_weather returned fine. get_time returned fine." in streamed_text(answer)


def the_servers_tools_are_streamed(client: Any) -> None:
    events = list(ask(client, "Search the news.", tools=[{"type": "google_search"}], stream=True))
    (call,) = plain(deltas(events, "google_search_call"))
    assert call["arguments"]["queries"] == ["Search the news."]
    (found,) = plain(deltas(events, "google_search_result"))
    assert found["result"][0]["search_suggestions"]
    (cited,) = plain(deltas(events, "text_annotation_delta"))
    assert cited["annotations"][0]["type"] == "url_citation"
    kept = client.interactions.get(stream_id(events))
    assert kinds(kept)[2:4] == ["google_search_call", "google_search_result"]
    assert plain(kept.steps)[-1]["content"][0]["annotations"][0]["url"] == "https://example.com/"
    assert "turn 2" in text(follow_up(client, kept, "And then?"))


def a_stream_that_is_not_stored_has_no_ids(client: Any) -> None:
    events = list(ask(client, "Keep nothing.", store=False, stream=True))
    assert stream_id(events) == ""
    assert events[1].interaction_id == ""
    assert events[-1].interaction.id == ""
    assert not any(event_ids(events))
    assert "Keep nothing" in streamed_text(events)


def a_stream_that_fails_ends_with_the_error(client: Any) -> None:
    events = list(ask(client, "Hello. [[sim thoughts=0 tokens=9 error_after=6]]", stream=True))
    assert events[-1].event_type == "error"
    assert events[-1].error.code == "service_unavailable"
    assert "interaction.completed" not in [event.event_type for event in events]
    kept = client.interactions.get(stream_id(events))
    assert kept.status == "failed"
    assert text(kept) == streamed_text(events) != ""
    with refused(400, "failed_precondition", kept.id, "failed"):
        follow_up(client, kept, "Go on.")


def a_stream_that_fails_at_once_is_refused(client: Any) -> None:
    with refused(400, "invalid_request", "status 400"):
        ask(client, "Hello. [[sim status=400]]", stream=True)


def an_interaction_outlives_a_reader_who_leaves(client: Any) -> None:
    stream = ask(client, "Hello. [[sim tokens=20 delay_ms=5]]", stream=True)
    seen = [next(stream) for _ in range(4)]
    stream.close()
    events = list(client.interactions.get(stream_id(seen), stream=True))
    assert event_ids(events)[:4] == event_ids(seen)
    assert events[-1].interaction.status == "completed"
    assert text(client.interactions.get(stream_id(seen))) == streamed_text(events)
