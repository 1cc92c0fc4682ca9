import base64
import contextlib
import io
import json
import struct
import wave
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.model import Json, Request
from app.errors import ApiError, InvalidRequest
from app.upstream.simulator import model, stream
from tests.upstream.simulator.asking import RESOURCE, ask, kinds, text_of, user

JSON_FORMAT: Json = {"type": "text", "mime_type": "application/json"}
PERSON: Json = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


@pytest.mark.parametrize("names", [{}, {"model": "m", "agent": "a"}, {"model": ""}])
def test_exactly_one_of_model_and_agent(names):
    with pytest.raises(InvalidRequest, match="'model' and 'agent'"):
        model.answer(Request(input=[user("Hello")], **names), [user("Hello")])


@pytest.mark.parametrize(
    ("names", "code"),
    [
        ({"model": "missing-1"}, "model_not_found"),
        ({"model": "models/missing-1"}, "model_not_found"),
        ({"agent": "missing-1"}, "not_found"),
    ],
)
def test_some_models_are_missing(names, code):
    with pytest.raises(ApiError, match="missing-1") as raised:
        model.answer(Request(input=[user("Hello")], **names), [user("Hello")])
    assert (raised.value.status, raised.value.code) == (404, code)


@pytest.mark.parametrize(
    "response_format",
    [
        {**JSON_FORMAT, "schema": PERSON},
        {"type": "text", "mimeType": "application/json", "schema": PERSON},
        [{"type": "text", "schema": PERSON}],
    ],
)
def test_json_is_answered_in_the_schema_that_was_asked_for(response_format):
    answer = ask("I am from Paris", response_format=response_format)
    assert json.loads(text_of(answer)) == {"name": "Paris"}


def test_json_without_a_schema_is_an_object():
    assert json.loads(text_of(ask("Hello", response_format=JSON_FORMAT)))["answer"].startswith("You said")


def test_an_image_is_a_png():
    for options in ({"response_format": {"type": "image"}}, {"response_modalities": ["IMAGE"]}):
        (item,) = ask("A cat", **options).steps[-1]["content"]
        assert (item["type"], item["mime_type"]) == ("image", "image/png")
        png = base64.b64decode(item["data"])
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        at = png.index(b"IDAT")
        (size,) = struct.unpack(">I", png[at - 4 : at])
        assert len(zlib.decompress(png[at + 4 : at + 4 + size])) == 8 * (1 + 8 * 3)
        (checked,) = struct.unpack(">I", png[at + 4 + size : at + 8 + size])
        assert checked == zlib.crc32(png[at : at + 4 + size])


def test_a_sound_is_a_wav():
    (item,) = ask("Speak", response_format={"type": "audio"}).steps[-1]["content"]
    assert item["mime_type"] == "audio/wav"
    with wave.open(io.BytesIO(base64.b64decode(item["data"]))) as sound:
        assert (sound.getnchannels(), sound.getframerate(), sound.getnframes()) == (1, 8_000, 400)


def test_text_and_image_go_together():
    content = ask("A cat", response_format=[{"type": "text"}, {"type": "image"}]).steps[-1]["content"]
    assert [item["type"] for item in content] == ["text", "image"]


@pytest.mark.parametrize(
    ("tokens", "status", "text"),
    [
        (3, "incomplete", 'You said "He'),
        (1_000, "completed", 'You said "Hello". This is turn 1 of our conversation.'),
    ],
)
def test_an_answer_has_no_more_tokens_than_allowed(tokens, status, text):
    answer = ask("Hello", generation_config={"max_output_tokens": tokens})
    assert (answer.status, text_of(answer)) == (status, text)
    assert answer.usage["total_output_tokens"] <= tokens


def test_an_answer_ends_before_a_stop_sequence():
    answer = ask("Hello", generation_config={"stop_sequences": ["our", "turn"]})
    assert (answer.status, text_of(answer)) == ("completed", 'You said "Hello". This is ')
    assert text_of(ask("Hello", generation_config={"stop_sequences": ["You"]})) == ""


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"tools": {}}, "tools"),
        ({"tools": [1]}, r"tools\[0\]"),
        ({"tools": [{"type": "function"}]}, r"tools\[0\]"),
        ({"tools": [{"type": "function", "name": "f", "parameters": []}]}, "parameters"),
        ({"generation_config": []}, "generation_config"),
        ({"generation_config": {"max_output_tokens": 0}}, "max_output_tokens"),
        ({"generation_config": {"max_output_tokens": True}}, "max_output_tokens"),
        ({"generation_config": {"stop_sequences": [""]}}, "stop_sequences"),
        ({"generation_config": {"tool_choice": {"allowed_tools": {"tools": "f"}}}}, "tools"),
        ({"system_instruction": {}}, "system_instruction"),
        ({"response_format": 1}, "response_format"),
        (
            {"response_format": {"type": "object"}},
            "The value 'object' is not supported for 'type' at 'response_format'",
        ),
        ({"response_format": [{"type": "text"}, {"type": "video"}]}, r"response_format\[1\]"),
        ({"response_format": {**JSON_FORMAT, "schema": []}}, "schema"),
        ({"response_modalities": ["smell"]}, "response_modalities"),
    ],
)
def test_a_wrong_option_is_refused_and_named(options, named):
    with pytest.raises(InvalidRequest, match=named):
        ask("Hello", **options)


def test_options_of_tomorrow_pass():
    config = {"of_tomorrow": {"a": 1}, "temperature": 2}
    assert ask("Hello", of_tomorrow=[1], generation_config=config) == ask("Hello", generation_config={})


def test_usage_counts_the_whole_history():
    first, second = ask("Hello"), ask("Hello", *ask("Hello").steps, "More")
    assert first.usage["input_tokens_by_modality"] == [{"modality": "text", "tokens": 2}]
    assert second.usage["total_input_tokens"] == 2 + first.usage["total_output_tokens"] + 1
    assert list(first.usage) == [
        "total_tokens",
        "total_input_tokens",
        "input_tokens_by_modality",
        "total_cached_tokens",
        "total_output_tokens",
        "output_tokens_by_modality",
        "total_tool_use_tokens",
        "tool_use_tokens_by_modality",
        "total_thought_tokens",
    ]


def test_usage_tells_modalities_apart():
    image = {"type": "image", "mime_type": "image/png", "data": "A" * 10_000}
    answer = ask(user("Look", image), response_format={"type": "image"})
    assert answer.usage["input_tokens_by_modality"] == [
        {"modality": "text", "tokens": 1},
        {"modality": "image", "tokens": 258},
    ]
    assert answer.usage["output_tokens_by_modality"] == [{"modality": "image", "tokens": 258}]


@given(
    st.lists(st.text(min_size=1), min_size=1, max_size=4),
    st.sampled_from([{}, {"system_instruction": "Be kind"}, {"response_format": JSON_FORMAT}]),
)
def test_the_same_request_has_the_same_answer_and_its_usage_adds_up(texts, options):
    answer = ask(*texts, **options)
    assert answer == ask(*texts, **options)
    usage = answer.usage
    parts = ("total_input_tokens", "total_output_tokens", "total_tool_use_tokens", "total_thought_tokens")
    assert usage["total_tokens"] == sum(usage[part] for part in parts)


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.text(max_size=5)
    | st.sampled_from(["text", "image", "auto"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "content", "text", "data", "name", "id", "call_id", "result", "arguments"]
            )
            | st.sampled_from(
                ["signature", "summary", "tools", "mode", "schema", "mime_type", "allowed_tools"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
STEPS = st.lists(
    st.dictionaries(
        st.sampled_from(["content", "signature", "id", "call_id", "result", "name", "x"]), JSON_VALUES
    ).flatmap(
        lambda step: st.sampled_from(
            ["user_input", "function_call", "function_result", "thought", "model_output"]
        ).map(lambda kind: {"type": kind, **step})
    ),
    max_size=5,
)
OPTIONS = st.dictionaries(
    st.sampled_from(
        ["tools", "generation_config", "response_format", "system_instruction", "response_modalities"]
    ),
    JSON_VALUES
    | st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["function", "mcp_server", "google_maps"])},
            optional={"name": JSON_VALUES, "parameters": JSON_VALUES, "allowed_tools": JSON_VALUES},
        )
    ),
)


@given(STEPS, JSON_VALUES, OPTIONS)
def test_whatever_is_sent_is_answered_or_refused(steps, last, options):
    searched = user("Search the issue")
    for conversation in ([*steps, {"type": "user_input", "content": last}], [*steps, searched], steps):
        with contextlib.suppress(InvalidRequest):
            answer = ask(*conversation, **options)
            assert kinds(answer)[0] == "thought"
            assert [json.loads(event.json()) for event in stream.streamed(answer, RESOURCE)]
