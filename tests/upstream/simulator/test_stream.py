import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import events
from app.core.fold import Fold
from app.core.model import Json
from app.upstream.simulator import stream
from app.upstream.simulator.model import Answer
from app.upstream.simulator.resource import Resource
from tests.upstream.simulator.asking import RESOURCE, WEATHER, ask

STORED = Resource("v1_abcdefgh", "2026-01-02T03:04:05Z", "flex", {"agent": "a"})
TOOLS: list[Json] = [
    {"type": kind}
    for kind in ("google_search", "code_execution", "url_context", "file_search", "google_maps", "mcp_server")
]


def lines(answer: Answer, resource: Resource = RESOURCE) -> list[str]:
    return [event.json().decode() for event in stream.streamed(answer, resource)]


def wire(*objects: Json) -> list[str]:
    """These objects as JSON text: the order of keys is part of it."""
    return [json.dumps(value, separators=(",", ":")) for value in objects]


def deltas(answer: Answer, kind: str) -> list[Any]:
    return [
        event.fields["delta"]
        for event in stream.streamed(answer, RESOURCE)
        if event.type == events.STEP_DELTA and event.fields["delta"]["type"] == kind
    ]


def folded(answer: Answer) -> Fold:
    fold = Fold()
    for event in stream.streamed(answer, RESOURCE):
        fold.add(event)
    return fold


def streamed(step: Json) -> Json:
    """The step as a stream makes it: calls and their results have an empty signature."""
    return step if step["type"] in ("thought", "model_output") else {**step, "signature": ""}


@given(
    st.text(max_size=100),
    st.sampled_from(["", " Search the weather in a file of Paris", " Run https://example.com/ near mcp"]),
    st.sampled_from(["", " [[sim tokens=7]]", " [[sim tokens=300 thoughts=2]]", " [[sim thoughts=0]]"]),
    st.sampled_from(
        [{}, {"tools": TOOLS}, {"tools": [*TOOLS, WEATHER]}, {"response_format": [{"type": "image"}]}]
    ),
    st.sampled_from(
        [{}, {"max_output_tokens": 3}, {"thinking_summaries": "auto"}, {"stop_sequences": ["Y"]}]
    ),
)
def test_a_stream_folds_to_the_unary_answer(text, asked, orders, options, config):
    answer = ask(text + asked + orders, **options, generation_config=config)
    fold = folded(answer)
    assert fold.steps() == [streamed(step) for step in answer.steps]
    assert fold.status == answer.status
    assert fold.details["usage"] == answer.usage


@given(st.integers(1, 500), st.text(max_size=2_000), st.booleans())
def test_the_text_comes_in_as_many_deltas_as_ordered(tokens, text, as_json):
    options = {"response_format": {"type": "text", "mime_type": "application/json"}} if as_json else {}
    answer = ask(f"{text.replace('[[', '')} [[sim tokens={tokens}]]", **options)
    assert len(deltas(answer, "text")) == tokens


def test_an_ordered_token_is_a_token():
    assert ask("Hello [[sim tokens=60]]").usage["total_output_tokens"] == 60


def test_a_text_comes_in_coarse_deltas():
    sizes = [len(delta["text"]) for delta in deltas(ask("Hello " * 40), "text")]
    assert len(sizes) > 3
    assert set(sizes[:-1]) == {48}


def test_a_plain_answer_on_the_wire():
    answer = ask("Hello")
    named = {"object": "interaction", "agent": "a"}
    times = {"created": "2026-01-02T03:04:05Z", "updated": "2026-01-02T03:04:05Z", "service_tier": "flex"}
    spent = {
        "total_tokens": 24,
        "total_input_tokens": 2,
        "input_tokens_by_modality": [{"modality": "text", "tokens": 2}],
        "total_cached_tokens": 0,
        "total_output_tokens": 14,
        "output_tokens_by_modality": [{"modality": "text", "tokens": 14}],
        "total_tool_use_tokens": 0,
        "tool_use_tokens_by_modality": [],
        "total_thought_tokens": 8,
    }
    ended = {"id": "v1_abcdefgh", "status": "completed", "usage": spent, **times, **named}
    texts = ['You said "Hello". This is turn 1 of our conversa', "tion."]
    signed = {"signature": answer.steps[0]["signature"], "type": "thought_signature"}
    assert lines(answer, STORED) == wire(
        {
            "interaction": {"id": "v1_abcdefgh", "status": "in_progress", **named},
            "event_type": "interaction.created",
        },
        {
            "interaction_id": "v1_abcdefgh",
            "status": "in_progress",
            "event_type": "interaction.status_update",
        },
        {"index": 0, "step": {"type": "thought"}, "event_type": "step.start"},
        {"index": 0, "delta": signed, "event_type": "step.delta"},
        {"index": 0, "event_type": "step.stop"},
        {"index": 1, "step": {"type": "model_output"}, "event_type": "step.start"},
        {"index": 1, "delta": {"text": texts[0], "type": "text"}, "event_type": "step.delta"},
        {"index": 1, "delta": {"text": texts[1], "type": "text"}, "event_type": "step.delta"},
        {"index": 1, "event_type": "step.stop"},
        {"interaction": ended, "event_type": "interaction.completed"},
    )


def test_a_function_call_on_the_wire():
    answer = ask("The weather in Paris? [[sim thoughts=0]]", tools=[WEATHER])
    known = {"signature": "", "type": "function_call", "name": "get_weather", "arguments": {}}
    arguments = {"arguments": '{"city":"Paris"}', "type": "arguments_delta"}
    assert lines(answer)[2:5] == wire(
        {"index": 0, "step": {"id": answer.steps[0]["id"], **known}, "event_type": "step.start"},
        {"index": 0, "delta": arguments, "event_type": "step.delta"},
        {"index": 0, "event_type": "step.stop"},
    )


def test_a_search_on_the_wire():
    answer = ask("Search [[sim thoughts=0]]", tools=[{"type": "google_search"}])
    name = answer.steps[0]["id"]
    call = {"id": name, "signature": "", "type": "google_search_call"}
    result = {"call_id": name, "signature": "", "type": "google_search_result"}
    queries = {"type": "google_search_call", "arguments": {"queries": ["Search"]}}
    found = {"type": "google_search_result", "result": [{"search_suggestions": "<div>Search</div>"}]}
    assert lines(answer)[2:8] == wire(
        {"index": 0, "step": call, "event_type": "step.start"},
        {"index": 0, "delta": queries, "event_type": "step.delta"},
        {"index": 0, "event_type": "step.stop"},
        {"index": 1, "step": result, "event_type": "step.start"},
        {"index": 1, "delta": found, "event_type": "step.delta"},
        {"index": 1, "event_type": "step.stop"},
    )
    assert '"type":"text_annotation_delta"' in lines(answer)[-3]


def test_summaries_come_before_the_signature():
    types = [
        event.fields["delta"]["type"]
        for event in stream.streamed(ask("Hi [[sim thoughts=2]]"), RESOURCE)
        if event.type == events.STEP_DELTA
    ]
    assert types[:3] == ["thought_summary", "thought_summary", "thought_signature"]


@pytest.mark.parametrize("tools", [[], [WEATHER], TOOLS])
def test_a_whole_answer_folds_to_the_same_steps(tools):
    answer = ask("Search the weather", tools=tools)
    fold = Fold()
    for event in stream.whole(answer, RESOURCE):
        fold.add(event)
    assert fold.steps() == answer.steps
    assert (fold.status, fold.details["usage"]) == (answer.status, answer.usage)
