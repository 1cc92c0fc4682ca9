"""Server-sent events: bytes to frames and back (WHATWG HTML, "Server-sent events").

Bytes only: `str.splitlines` would break a frame at U+2028, which JSON text may hold.
"""

import re
from typing import NamedTuple

DONE = b"event: done\ndata: [DONE]\n\n"
KEEP_ALIVE = b": keep-alive\n\n"

_LINE_END = re.compile(rb"\r\n|\n|\r")


class Frame(NamedTuple):
    """One event: the `event:` field, "" where there is none, and its data lines joined."""

    event: str
    data: bytes


class FrameTooLong(Exception):
    """A frame larger than the reader allows."""


def encode(event: str, data: bytes) -> bytes:
    """A frame as the Interactions API writes it; `data` is one line of JSON text."""
    return b"event: " + event.encode() + b"\ndata: " + data + b"\n\n"


class Decoder:
    """Frames from chunks of bytes that may be cut anywhere.

    Accepts LF, CRLF and CR in any mixture, a byte order mark, comments, several data lines.
    Linear in the bytes fed. Raises FrameTooLong past `limit` bytes in the lines of one frame.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._line: list[bytes] = []
        self._size = 0
        self._skip_lf = False
        self._started = False
        self._event = b""
        self._data: list[bytes] = []

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that this chunk completes."""
        if self._skip_lf and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._skip_lf = False
        if not chunk:
            return []
        self._skip_lf = chunk.endswith(b"\r")
        frames: list[Frame] = []
        *lines, rest = _LINE_END.split(chunk)
        for line in lines:
            self._add(line)
            frame = self._take(self._whole())
            if frame is not None:
                frames.append(frame)
        if rest:
            self._add(rest)
        return frames

    def _add(self, part: bytes) -> None:
        """More of the line that is being read."""
        first = self._line[0] if self._line else part
        if first.startswith(b":"):  # a comment: it counts for nothing and is not gathered
            self._line[:] = [first]
            return
        self._line.append(part)
        self._size += len(part)
        if self._size > self._limit:
            raise FrameTooLong(f"a frame of more than {self._limit} bytes")

    def _whole(self) -> bytes:
        line = b"".join(self._line)
        self._line.clear()
        if not self._started:
            self._started = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        return line

    def _take(self, line: bytes) -> Frame | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._event = value
        return None

    def _dispatch(self) -> Frame | None:
        event, data = self._event, self._data
        self._event, self._data, self._size = b"", [], 0
        return Frame(event.decode("utf-8", "replace"), b"\n".join(data)) if data else None
