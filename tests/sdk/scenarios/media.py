"""Pictures, sounds, films and documents, in and out."""

import base64
import io
import struct
import wave
import zlib
from typing import Any

from tests.sdk.scenarios.reading import ask, contents, deltas, follow_up, of_kind, stream_id, text

_TYPES = {"image": "image/png", "audio": "audio/wav", "video": "video/mp4", "document": "application/pdf"}
_BYTES = base64.b64encode(bytes(range(256)) * 5).decode()


def media_can_be_sent_inline(client: Any) -> None:
    for kind, mime_type in _TYPES.items():
        shown = {"type": kind, "data": _BYTES, "mime_type": mime_type}
        answer = ask(client, [{"type": "text", "text": "What is this?"}, shown])
        assert f"I see 1 {kind} ({mime_type})" in text(answer)
        kept = client.interactions.get(answer.id).steps[0].content[1]
        assert kept.data == _BYTES


def media_can_be_sent_by_uri(client: Any) -> None:
    for kind, mime_type in _TYPES.items():
        uri = f"https://media.example.com/{kind}-1"
        shown = {"type": kind, "uri": uri, "mime_type": mime_type}
        answer = ask(client, [{"type": "text", "text": "What is this?"}, shown])
        assert f"I see 1 {kind} ({mime_type})" in text(answer)
        assert client.interactions.get(answer.id).steps[0].content[1].uri == uri


def media_are_remembered(client: Any) -> None:
    first = ask(client, [{"type": "image", "data": _BYTES, "mime_type": "image/png"}])
    second = follow_up(client, first, [{"type": "audio", "data": _BYTES, "mime_type": "audio/wav"}])
    third = follow_up(client, second, "What have I shown you?")
    assert "I see 1 image (image/png) and 1 audio (audio/wav)" in text(third)


def a_picture_can_be_made_and_talked_about(client: Any) -> None:
    first = ask(client, "Paint a teal square.", response_format={"type": "image"})
    (picture,) = contents(first)
    assert picture.mime_type == "image/png"
    _check_png(base64.b64decode(picture.data))
    assert client.interactions.get(first.id).steps[-1].content[0].data == picture.data
    assert "turn 2" in text(follow_up(client, first, "Thank you!"))


def a_picture_can_be_streamed(client: Any) -> None:
    stream = ask(client, "Paint a teal square.", response_format={"type": "image"}, stream=True)
    events = list(stream)
    (picture,) = deltas(events, "image")
    _check_png(base64.b64decode(picture.data))
    (step,) = of_kind(client.interactions.get(stream_id(events)), "model_output")
    assert step.content[0].data == picture.data


def text_and_picture_can_come_together(client: Any) -> None:
    answer = ask(client, "Paint a teal square.", response_format=[{"type": "text"}, {"type": "image"}])
    assert [item.type for item in contents(answer)] == ["text", "image"]


def a_sound_can_be_made(client: Any) -> None:
    (sound,) = contents(ask(client, "Sing.", response_format={"type": "audio"}))
    assert sound.mime_type == "audio/wav"
    with wave.open(io.BytesIO(base64.b64decode(sound.data))) as wav:
        assert wav.getnframes() > 0


def _check_png(png: bytes) -> None:
    """Decode it: chunks with right checksums, and as many pixels as the header says."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, rest = {}, png[8:]
    while rest:
        (size,) = struct.unpack(">I", rest[:4])
        kind, data, checksum = rest[4:8], rest[8 : 8 + size], rest[8 + size : 12 + size]
        assert struct.pack(">I", zlib.crc32(kind + data)) == checksum
        chunks[kind], rest = data, rest[12 + size :]
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 2)
    assert len(zlib.decompress(chunks[b"IDAT"])) == height * (1 + 3 * width)
    assert b"IEND" in chunks
