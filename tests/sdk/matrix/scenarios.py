"""What a program does with the API, in every generation of the SDK; each takes one SDK, as `Sdk` shows it.

The names are those of ../javascript/scenarios.mjs, in the same order.
"""

import base64
import io
import json
import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from google.genai import errors

from tests.sdk.matrix.reading import (
    HAS_INCLUDE_INPUT,
    OUTPUTS,
    Missing,
    calls_of,
    calls_of_events,
    finished,
    history,
    input_of,
    json_wanted,
    text_of,
    text_of_events,
)
from tests.sdk.scenarios.reading import (
    ABSENT,
    MODEL,
    ask,
    event_ids,
    follow_up,
    plain,
    refused,
    result,
    stream_id,
)
from tests.sdk.scenarios.tools import WEATHER

_NOWHERE = "http://127.0.0.1:9"
_QUESTION = "Is the weather fine in Paris?"


class Sdk(Protocol):
    """One SDK, through its synchronous client or its asynchronous one."""

    client: Any
    left: dict[str, str]
    """What an SDK of the other generation has left behind: the ids of `call` and of `answer`."""

    def connect(self, key: str | None = None, **options: Any) -> Any:
        """Another client, with these HTTP options."""


# --- input ---


def a_string_is_answered(sdk: Sdk) -> None:
    answer = ask(sdk.client, "Why is the sky blue?")
    assert answer.status == "completed"
    assert answer.model == MODEL
    assert answer.id
    assert answer.usage.total_tokens > 0
    assert 'You said "Why is the sky blue?"' in text_of(answer)


def one_content_is_answered(sdk: Sdk) -> None:
    assert "one content" in text_of(ask(sdk.client, {"type": "text", "text": "I am one content"}))


def several_contents_are_one_turn(sdk: Sdk) -> None:
    contents = [{"type": "text", "text": "My name is Ada."}, {"type": "text", "text": "What is my name?"}]
    answer = text_of(ask(sdk.client, contents))
    assert "Your name is Ada" in answer
    assert "turn 1" in answer


def turns_are_a_conversation(sdk: Sdk) -> None:
    if not OUTPUTS:
        raise Missing("SDKs 2.x and later have steps instead")
    turns = [
        {"role": "user", "content": "My name is Ada."},
        {"role": "model", "content": [{"type": "text", "text": "Hello Ada."}]},
        {"role": "user", "content": [{"type": "text", "text": "What is my name?"}]},
    ]
    answer = text_of(ask(sdk.client, turns))
    assert "Your name is Ada" in answer
    assert "turn 2" in answer


def steps_are_a_conversation(sdk: Sdk) -> None:
    if OUTPUTS:
        raise Missing("SDKs 1.x have turns instead")
    steps = [
        {"type": "user_input", "content": [{"type": "text", "text": "My name is Ada."}]},
        {"type": "model_output", "content": [{"type": "text", "text": "Hello Ada."}]},
        {"type": "user_input", "content": [{"type": "text", "text": "What is my name?"}]},
    ]
    answer = text_of(ask(sdk.client, steps))
    assert "Your name is Ada" in answer
    assert "turn 2" in answer


def a_picture_is_seen(sdk: Sdk) -> None:
    _shown(sdk, "image", "image/png", _png())


def a_sound_is_heard(sdk: Sdk) -> None:
    _shown(sdk, "audio", "audio/wav", b"RIFF" + bytes(range(256)))


def a_document_is_read(sdk: Sdk) -> None:
    _shown(sdk, "document", "application/pdf", b"%PDF-1.4\n" + bytes(range(256)))


# --- conversations ---


def a_turn_remembers_the_one_before(sdk: Sdk) -> None:
    first = ask(sdk.client, "My name is Ada.")
    second = follow_up(sdk.client, first, "My colour is teal.")
    third = follow_up(sdk.client, second, "What is my name?")
    assert "Your name is Ada" in text_of(third)
    assert third.previous_interaction_id == second.id
    assert len({first.id, second.id, third.id}) == 3


def what_is_not_stored_has_no_id(sdk: Sdk) -> None:
    first = ask(sdk.client, "My name is Ada.")
    aside = follow_up(sdk.client, first, "What is my name?", store=False)
    assert "Your name is Ada" in text_of(aside)
    assert not getattr(aside, "id", "")


def a_history_that_is_sent_back_is_remembered(sdk: Sdk) -> None:
    first = ask(sdk.client, history("My name is Ada."), store=False)
    second = ask(sdk.client, history("My name is Ada.", first, "What is my name?"), store=False)
    assert "Your name is Ada" in text_of(second)
    assert "turn 2" in text_of(second)


# --- streams ---


def a_text_is_streamed(sdk: Sdk) -> None:
    told = "Tell me a story. [[sim tokens=12]]"
    events = list(ask(sdk.client, told, stream=True))
    assert finished(events).status == "completed"
    assert finished(events).usage.total_tokens > 0
    assert len(events) > 12
    assert text_of_events(events) == text_of(ask(sdk.client, told))
    assert text_of_events(events) == text_of(sdk.client.interactions.get(stream_id(events)))


def a_streamed_turn_can_be_continued_at_once(sdk: Sdk) -> None:
    last = finished(list(ask(sdk.client, "My name is Ada.", stream=True)))
    events = list(follow_up(sdk.client, last, "What is my name?", stream=True))
    assert "Your name is Ada" in text_of_events(events)


def a_function_call_is_streamed(sdk: Sdk) -> None:
    events = list(ask(sdk.client, _QUESTION, tools=[WEATHER], stream=True))
    assert finished(events).status == "requires_action"
    ((call_id, name, arguments),) = calls_of_events(events)
    assert (name, arguments) == ("get_weather", {"city": "Paris"})
    (kept,) = calls_of(sdk.client.interactions.get(stream_id(events)))
    assert (kept.id, kept.name, kept.arguments) == (call_id, name, arguments)


# --- functions and formats ---


def a_function_is_called_and_answered(sdk: Sdk) -> None:
    first = ask(sdk.client, _QUESTION, tools=[WEATHER])
    assert first.status == "requires_action"
    (call,) = calls_of(first)
    assert (call.name, call.arguments) == ("get_weather", {"city": "Paris"})
    second = follow_up(sdk.client, first, [result(call, {"sky": "clear"})], tools=[WEATHER])
    assert second.status == "completed"
    assert 'get_weather returned {"sky":"clear"}' in text_of(second)


def a_function_is_answered_without_the_servers_memory(sdk: Sdk) -> None:
    first = ask(sdk.client, history(_QUESTION), tools=[WEATHER], store=False)
    (call,) = calls_of(first)
    said = history(_QUESTION, first, result(call, "clear sky"))
    second = ask(sdk.client, said, tools=[WEATHER], store=False)
    assert "get_weather returned clear sky" in text_of(second)


def an_answer_follows_a_json_schema(sdk: Sdk) -> None:
    properties = {"name": {"type": "string"}, "age": {"type": "integer"}}
    schema = {"type": "object", "properties": properties, "required": ["name", "age"]}
    answer = ask(sdk.client, "Her name is Ada and she is 36 years old.", **json_wanted(schema))
    assert json.loads(text_of(answer)) == {"name": "Ada", "age": 36}


# --- what is stored ---


def an_interaction_can_be_read(sdk: Sdk) -> None:
    made = ask(sdk.client, "My name is Ada.")
    found = sdk.client.interactions.get(made.id)
    names = ("id", "status", "model", "created", "updated")
    assert [getattr(found, name) for name in names] == [getattr(made, name) for name in names]
    assert text_of(found) == text_of(made)
    assert found.usage.total_tokens == made.usage.total_tokens


def an_interaction_can_show_its_input(sdk: Sdk) -> None:
    if not HAS_INCLUDE_INPUT:
        raise Missing("this SDK has no `include_input`")
    made = ask(sdk.client, "My name is Ada.")
    assert input_of(sdk.client.interactions.get(made.id, include_input=True)) == "My name is Ada."


def a_stream_can_be_replayed(sdk: Sdk) -> None:
    seen = list(ask(sdk.client, "My name is Ada.", stream=True))
    again = list(sdk.client.interactions.get(stream_id(seen), stream=True))
    assert plain(again) == plain(seen)


def a_stream_resumes_after_any_event(sdk: Sdk) -> None:
    streamed = stream_id(list(ask(sdk.client, "Tell me. [[sim thoughts=2 tokens=5]]", stream=True)))
    called = stream_id(list(ask(sdk.client, _QUESTION, tools=[WEATHER], stream=True)))
    for interaction_id in (streamed, called, ask(sdk.client, "Tell me.").id):
        whole = list(sdk.client.interactions.get(interaction_id, stream=True))
        assert len(set(event_ids(whole))) == len(whole)
        for place, event in enumerate(whole, 1):
            more = {"stream": True, "last_event_id": event.event_id}
            assert plain(list(sdk.client.interactions.get(interaction_id, **more))) == plain(whole[place:])


def a_deleted_interaction_is_gone(sdk: Sdk) -> None:
    made = ask(sdk.client, "Forget me.")
    sdk.client.interactions.delete(made.id)
    for act in (sdk.client.interactions.get, sdk.client.interactions.delete):
        with refused(404, "not_found", made.id):
            act(made.id)
    with refused(404, "not_found", made.id):
        follow_up(sdk.client, made, "Do you remember?")


def what_has_ended_cannot_be_cancelled(sdk: Sdk) -> None:
    made = ask(sdk.client, "Hello.")
    with refused(400, "failed_precondition", made.id, "completed"):
        sdk.client.interactions.cancel(made.id)


# --- in the background ---


def a_background_run_is_polled(sdk: Sdk) -> None:
    begun = ask(sdk.client, "My name is Ada. [[sim tokens=5 delay_ms=20]]", background=True)
    assert begun.status in {"queued", "in_progress"}
    assert begun.id
    done = _ended(sdk, begun.id)
    assert done.status == "completed"
    assert "Ada" in text_of(done)
    assert "Your name is Ada" in text_of(follow_up(sdk.client, done, "What is my name?"))


def a_background_run_is_followed_and_taken_up_again(sdk: Sdk) -> None:
    begun = ask(sdk.client, "Tell me. [[sim tokens=8 delay_ms=20]]", background=True)
    whole = list(sdk.client.interactions.get(begun.id, stream=True))
    assert text_of_events(whole) == text_of(_ended(sdk, begun.id))
    half = event_ids(whole)[len(whole) // 2]
    rest = list(sdk.client.interactions.get(begun.id, stream=True, last_event_id=half))
    assert plain(rest) == plain(whole[len(whole) // 2 + 1 :])


def a_background_run_streams_itself(sdk: Sdk) -> None:
    told = list(ask(sdk.client, "Tell me. [[sim tokens=5]]", background=True, stream=True))
    assert finished(told).status == "completed"
    assert text_of_events(told) == text_of(sdk.client.interactions.get(stream_id(told)))


def a_background_run_can_be_cancelled(sdk: Sdk) -> None:
    begun = ask(sdk.client, "Tell me. [[sim hang_after=4]]", background=True)
    for _ in range(2):
        assert sdk.client.interactions.cancel(begun.id).status == "cancelled"
    assert sdk.client.interactions.get(begun.id).status == "cancelled"


# --- refusals ---


def a_wrong_request_is_refused(sdk: Sdk) -> None:
    with refused(400, "invalid_request", "input"):
        ask(sdk.client, "")
    with refused(400, "invalid_request", "input"):
        ask(sdk.client, "", stream=True)


def a_wrong_key_is_refused(sdk: Sdk) -> None:
    with refused(401, "authentication", "API key not valid"):
        ask(sdk.connect("igw_" + "x" * 43), "Hello.")


def what_never_was_is_not_found(sdk: Sdk) -> None:
    interactions = sdk.client.interactions
    for act in (interactions.get, interactions.delete, interactions.cancel):
        with refused(404, "not_found", ABSENT):
            act(ABSENT)


# --- the way to the gateway ---


def the_base_url_is_an_option(sdk: Sdk) -> None:
    url = os.environ["GOOGLE_GEMINI_BASE_URL"]
    with _environment("GOOGLE_GEMINI_BASE_URL", _NOWHERE):
        for each in (url, f"{url}/"):
            assert "Hello" in text_of(ask(sdk.connect(base_url=each), "Hello."))


def the_base_url_is_in_the_environment(sdk: Sdk) -> None:
    assert "Hello" in text_of(ask(sdk.connect(), "Hello."))


def every_version_of_the_path_is_served(sdk: Sdk) -> None:
    made = ask(sdk.client, "My name is Ada.")
    for version in ("v1", "v1beta", "v1alpha"):
        assert sdk.connect(api_version=version).interactions.get(made.id).id == made.id


# --- the other generation ---


def what_the_other_generation_made_is_read(sdk: Sdk) -> None:
    call, answer = (sdk.client.interactions.get(_left(sdk, name)) for name in ("call", "answer"))
    assert [(each.name, each.arguments) for each in calls_of(call)] == [("get_weather", {"city": "Paris"})]
    assert "get_weather returned clear" in text_of(answer)
    events = list(sdk.client.interactions.get(_left(sdk, "answer"), stream=True))
    assert text_of_events(events) == text_of(answer)
    called = list(sdk.client.interactions.get(_left(sdk, "call"), stream=True))
    assert [arguments for _, _, arguments in calls_of_events(called)] == [{"city": "Paris"}]


def what_the_other_generation_began_is_continued(sdk: Sdk) -> None:
    parent = sdk.client.interactions.get(_left(sdk, "answer"))
    assert "Your name is Ada" in text_of(follow_up(sdk.client, parent, "What is my name?"))
    events = list(follow_up(sdk.client, parent, "What is my name?", stream=True))
    assert "Your name is Ada" in text_of_events(events)


def what_the_other_generation_calls_is_answered(sdk: Sdk) -> None:
    call = sdk.client.interactions.get(_left(sdk, "call"))
    answer = follow_up(sdk.client, call, [result(calls_of(call)[0], "rain")], tools=[WEATHER])
    assert "get_weather returned rain" in text_of(answer)


# --- the rest of the API ---


def a_file_is_uploaded_and_read(sdk: Sdk) -> None:
    made = _uploaded(sdk)
    found = sdk.client.files.get(name=made.name)
    assert (found.name, found.uri, found.display_name) == (made.name, made.uri, "geese")
    assert (found.size_bytes, found.mime_type) == (12, "text/plain")


def files_are_listed(sdk: Sdk) -> None:
    names = {_uploaded(sdk).name for _ in range(3)}
    assert names <= {file.name for file in sdk.client.files.list(config={"page_size": 2})}


def a_deleted_file_is_gone(sdk: Sdk) -> None:
    made = _uploaded(sdk)
    sdk.client.files.delete(name=made.name)
    with _client_error(403, 404):
        sdk.client.files.get(name=made.name)


def an_uploaded_file_is_shown(sdk: Sdk) -> None:
    document = {"type": "document", "uri": _uploaded(sdk).uri, "mime_type": "text/plain"}
    answer = ask(sdk.client, [{"type": "text", "text": "What is this?"}, document])
    assert "I see 1 document (text/plain)" in text_of(answer)


def models_are_listed(sdk: Sdk) -> None:
    assert "models/gemini-3-flash-preview" in [model.name for model in sdk.client.models.list()]


def a_model_is_read(sdk: Sdk) -> None:
    found = sdk.client.models.get(model=MODEL)
    assert (found.name, found.input_token_limit) == (f"models/{MODEL}", 1048576)
    with _client_error(404):
        sdk.client.models.get(model="missing-model")


def content_is_generated(sdk: Sdk) -> None:
    answer = sdk.client.models.generate_content(model=MODEL, contents="Hello geese")
    assert answer.text == "You said: Hello geese"
    assert answer.usage_metadata.total_token_count > 0


def content_is_generated_as_a_stream(sdk: Sdk) -> None:
    chunks = list(sdk.client.models.generate_content_stream(model=MODEL, contents="Hello geese"))
    assert len(chunks) > 1
    assert "".join(chunk.text for chunk in chunks) == "You said: Hello geese"


def tokens_are_counted(sdk: Sdk) -> None:
    assert sdk.client.models.count_tokens(model=MODEL, contents="Hello geese").total_tokens == 2


def leave(sdk: Sdk) -> dict[str, str]:
    """A conversation for SDKs of the other generation to find."""
    first = ask(sdk.client, "My name is Ada.")
    call = follow_up(sdk.client, first, _QUESTION, tools=[WEATHER])
    answer = follow_up(sdk.client, call, [result(calls_of(call)[0], "clear")], tools=[WEATHER])
    return {"call": call.id, "answer": answer.id}


def _left(sdk: Sdk, name: str) -> str:
    if not sdk.left:
        raise Missing("nothing of the other generation was named")
    return sdk.left[name]


def _shown(sdk: Sdk, kind: str, mime_type: str, data: bytes) -> None:
    shown = {"type": kind, "data": base64.b64encode(data).decode(), "mime_type": mime_type}
    first = ask(sdk.client, [{"type": "text", "text": "What is this?"}, shown])
    assert f"I see 1 {kind} ({mime_type})" in text_of(first)
    second = follow_up(sdk.client, first, "What have I shown you?")
    assert f"I see 1 {kind} ({mime_type})" in text_of(second)


def _png() -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0teal"[:4])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _uploaded(sdk: Sdk) -> Any:
    config = {"mime_type": "text/plain", "display_name": "geese"}
    made = sdk.client.files.upload(file=io.BytesIO(b"geese, geese"), config=config)
    assert made.name.startswith("files/")
    return made


def _ended(sdk: Sdk, interaction_id: str) -> Any:
    """The interaction, once it has ended."""
    for _ in range(1500):
        found = sdk.client.interactions.get(interaction_id)
        if found.status not in {"queued", "in_progress"}:
            return found
        time.sleep(0.02)
    raise AssertionError("it did not end")


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ[name]
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ[name] = before


@contextmanager
def _client_error(*statuses: int) -> Iterator[None]:
    refusal = None
    try:
        yield
    except errors.ClientError as error:
        refusal = error
    assert refusal is not None, "this was not refused"
    assert refusal.code in statuses
    assert refusal.message


SCENARIOS: list[Callable[[Sdk], None]] = [
    member
    for name, member in list(vars().items())
    if callable(member)
    and getattr(member, "__module__", "") == __name__
    and not name.startswith("_")
    and name not in {"Sdk", "leave"}
]
