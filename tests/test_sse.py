"""Server-sent events: the same frames, wherever the network cuts them."""

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import sse
from app.sse import Decoder, Frame, FrameTooLong

STREAMS: dict[str, tuple[bytes, list[tuple[str, bytes]]]] = {
    "LF": (b"event: a\ndata: 1\n\ndata: 2\n\n", [("a", b"1"), ("", b"2")]),
    "CRLF": (b"event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", [("a", b"1"), ("", b"2")]),
    "CR": (b"event: a\rdata: 1\r\rdata: 2\r\r", [("a", b"1"), ("", b"2")]),
    "CRLF and LF": (b"data: 1\r\n\ndata: 2\n\r\ndata: 3\r\n\n\n", [("", b"1"), ("", b"2"), ("", b"3")]),
    "CR and CRLF": (b"data: 1\r\r\ndata: 2\r\n\rdata: 3\r\r", [("", b"1"), ("", b"2"), ("", b"3")]),
    "LF and CR": (b"data: 1\n\rdata: 2\r\r\n\n", [("", b"1"), ("", b"2")]),
    "byte order mark": (
        b"\xef\xbb\xbfdata: 1\n\ndata: \xef\xbb\xbf\n\n",
        [("", b"1"), ("", b"\xef\xbb\xbf")],
    ),
    "comments": (b": hi\n\n:\r\n\r\ndata: 1\n:data: 2\n\n: bye\n\n", [("", b"1")]),
    "comment after a byte order mark": (b"\xef\xbb\xbf: hi\n\ndata: 1\n\n", [("", b"1")]),
    "several data lines": (b"data: 1\ndata:\ndata:  3 \n\n", [("", b"1\n\n 3 ")]),
    "separators that are no line ends": (
        b'data: "\xe2\x80\xa8\xe2\x80\xa9\xc2\x85\x0b\x0c\x1c"\n\n',
        [("", b'"\xe2\x80\xa8\xe2\x80\xa9\xc2\x85\x0b\x0c\x1c"')],
    ),
    "no space, no colon": (b"event:a\ndata:1\ndata\n\n", [("a", b"1\n")]),
    "other fields": (b"id: 7\nretry: 1\ndata: 1\nDATA: 2\n\n", [("", b"1")]),
    "an event without data": (b"event: a\n\ndata: 1\n\n", [("", b"1")]),
    "the last event name counts": (b"event: a\nevent: b\ndata: 1\n\n", [("b", b"1")]),
    "empty data": (b"data:\n\n", [("", b"")]),
    "no blank line at the end": (b"data: 1\n\ndata: 2\n", [("", b"1")]),
    "no line end at all": (b"data: 1", []),
    "a broken name": (b"event: \xff\xc3\ndata: 1\n\n", [("\ufffd\ufffd", b"1")]),
    "nothing": (b"", []),
}
CASES = pytest.mark.parametrize(("stream", "frames"), STREAMS.values(), ids=STREAMS.keys())


def decoded(*chunks: bytes, limit: int = 10_000) -> list[Frame]:
    decoder = Decoder(limit)
    return [frame for chunk in chunks for frame in decoder.feed(chunk)]


@CASES
def test_a_stream_reads_the_same_at_every_cut(stream, frames):
    assert decoded(stream) == frames
    for first in range(len(stream) + 1):
        for second in range(first, len(stream) + 1):
            chunks = stream[:first], stream[first:second], stream[second:]
            assert decoded(*chunks) == frames, chunks


@CASES
def test_a_stream_reads_the_same_byte_by_byte(stream, frames):
    assert decoded(*(stream[i : i + 1] for i in range(len(stream)))) == frames


LINES = st.binary(max_size=20).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b""))
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=8)


@given(st.lists(st.tuples(NAMES, LINES), max_size=5), st.lists(st.integers(0, 200), max_size=5))
def test_what_is_encoded_is_decoded(frames, cuts):
    stream = b"".join(sse.encode(name, line) for name, line in frames)
    chunks = [stream[a:b] for a, b in pairwise([0, *sorted(cuts), max(len(stream), *cuts, 0)])]
    assert decoded(*chunks) == frames


@given(st.lists(st.sampled_from([b"\r", b"\n", b"data: x", b":c", b"event: e"]), max_size=12))
def test_any_mixture_of_line_ends_reads_the_same_byte_by_byte(parts):
    stream = b"".join(parts)
    assert decoded(*(stream[i : i + 1] for i in range(len(stream)))) == decoded(stream)


def test_our_own_words_are_read_back():
    assert decoded(sse.KEEP_ALIVE, sse.DONE, sse.KEEP_ALIVE) == [("done", b"[DONE]")]


def test_a_frame_may_be_as_long_as_the_limit_and_no_longer():
    longest = b"data: " + b"x" * 94
    for cut in (0, 3, 50, 99, 100):
        assert len(decoded(longest[:cut], longest[cut:] + b"\n\n" * 2, limit=100)) == 1
        with pytest.raises(FrameTooLong, match="a frame of more than 100 bytes"):
            decoded(longest[:cut], longest[cut:] + b"x", limit=100)


def test_the_lines_of_a_frame_count_together_and_frames_do_not():
    line = b"data: " + b"x" * 44 + b"\n"
    assert len(decoded(line * 2 + b"\n" + line * 2 + b"\n", limit=100)) == 2
    with pytest.raises(FrameTooLong):
        decoded(line * 3, limit=100)


def test_comments_do_not_count():
    line = b"data: " + b"x" * 94 + b"\n"
    comments = [b": ping\n\n"] * 50 + [b":", b"x" * 200, b"x" * 200, b"\n"]
    assert len(decoded(*comments, line, b": in the middle\n", b":", b"x" * 200, b"\n", b"\n", limit=100)) == 1


def test_an_endless_comment_is_not_gathered():
    decoder = Decoder(100)
    for _ in range(1000):
        assert decoder.feed(b":" * 1000) == []
    assert sum(map(len, decoder._line)) <= 1000
    assert decoder.feed(b"\ndata: 1\n\n") == [("", b"1")]


def test_a_large_frame_takes_linear_time():
    chunk = b"x" * 2**16
    decoder = Decoder(2**26)
    start = time.process_time()
    decoder.feed(b"data: ")
    for _ in range(320):
        decoder.feed(chunk)
    [frame] = decoder.feed(b"\n\n")
    assert len(frame.data) == 320 * 2**16
    assert time.process_time() - start < 2
