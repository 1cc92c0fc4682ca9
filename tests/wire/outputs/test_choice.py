"""Which clients get which of the two forms of the outputs schema, by the SDKs' type definitions."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app import ids
from app.core import events
from app.wire import dialect
from tests.wire.outputs.reading import heard, stored

ANNOTATED = [
    events.step_start(0, {"type": "model_output"}),
    events.step_delta(0, {"annotations": [], "type": "text_annotation_delta"}),
]


async def _chunks() -> AsyncIterator[bytes]:
    for frame in stored(ANNOTATED):
        yield frame


def streamed(*headers: tuple[str, str]) -> bytes:
    """What a client that sends these headers is told of a text with annotations."""
    spoken = dialect.of([(name.encode(), value.encode()) for name, value in headers], "steps")

    async def listen() -> bytes:
        return b"".join([chunk async for chunk in spoken.stream(ids.START).frames(_chunks())])

    return asyncio.run(listen())


@pytest.mark.parametrize(
    ("headers", "kind"),
    [
        ([("x-goog-api-client", "google-genai-sdk/1.55.0 gl-python/3.12.1")], "text"),
        ([("x-goog-api-client", "google-genai-sdk/1.69.0 gl-python/3.12.1")], "text"),
        ([("x-goog-api-client", "google-genai-sdk/1.70.0 gl-python/3.12.1")], "text_annotation"),
        ([("x-goog-api-client", "google-genai-sdk/1.75.0+afc+chat gl-python/3.12.1")], "text_annotation"),
        ([("x-goog-api-client", "google-genai-sdk/1.33.0 gl-node/v20.1.0")], "text"),
        ([("x-goog-api-client", "google-genai-sdk/1.47.0 gl-node/v20.1.0")], "text"),
        ([("x-goog-api-client", "google-genai-sdk/1.48.0 gl-node/v20.1.0")], "text_annotation"),
        ([("x-goog-api-client", "google-genai-sdk/1.52.0+x gl-node/v20.1.0")], "text_annotation"),
        ([("api-revision", "2026-05-07")], "text_annotation"),
        (
            [
                ("api-revision", "2026-05-07"),
                ("x-goog-api-client", "google-genai-sdk/3.4.0 gl-python/3.12.1"),
            ],
            "text_annotation",
        ),
        ([("user-agent", "GeminiNextGenAPIClient/Python 1.75.0")], "text_annotation"),
    ],
    ids=str,
)
def test_annotations_come_as_the_sdk_reads_them(headers, kind):
    deltas = [event["delta"] for event in heard(streamed(*headers)) if "delta" in event]
    assert [delta["type"] for delta in deltas] == [kind]


@pytest.mark.parametrize(
    "headers", [[], [("x-goog-api-client", "google-genai-sdk/3.4.0 gl-python/3.12.1")]], ids=str
)
def test_frames_of_the_steps_schema_are_sent_as_they_are_stored(headers):
    assert streamed(*headers) == b"".join(stored(ANNOTATED))
    chunks = _chunks()
    assert dialect.of([], "steps").stream(ids.START).frames(chunks) is chunks


def test_a_new_sdk_is_not_given_the_old_schema_whatever_the_default():
    newest = [(b"x-goog-api-client", b"google-genai-sdk/3.4.0 gl-python/3.12.1")]
    assert dialect.choose(newest, "outputs") == "steps"
    assert dialect.choose([], "outputs") == "outputs"
