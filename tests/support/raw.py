"""HTTP by hand: whatever bytes a test wants on a socket, and what comes back."""

import contextlib
import http.client
import io
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from tests.support import PATIENCE
from tests.support.gateway import Gateway


@dataclass
class Answer:
    """One answer of a server."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class _Raw(io.RawIOBase):
    """A socket as a file; unlike the standard one it can be read on after a timeout."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there."""
        return self._connection.recv_into(buffer)


class _Reader(io.BufferedReader):
    """What has been read ahead of one answer belongs to the next, so no answer may close it."""

    def close(self) -> None:
        """Nothing."""

    def makefile(self, _mode: str) -> "_Reader":
        """Itself: http.client asks the socket that it takes this for."""
        return self


class Connection:
    """A connection to a gateway."""

    def __init__(self, gateway: Gateway, timeout: float = PATIENCE) -> None:
        self.socket = socket.create_connection(("127.0.0.1", gateway.port), timeout)
        self._reader = _Reader(_Raw(self.socket))

    def close(self) -> None:
        """Leave."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send; a server that has stopped listening is no reason to stop a test."""
        with contextlib.suppress(ConnectionError):
            self.socket.sendall(data)

    def answer(self, method: str = "POST") -> Answer:
        """The next answer."""
        parsed = http.client.HTTPResponse(cast(socket.socket, self._reader), method=method)
        parsed.begin()
        headers = {name.lower(): value for name, value in parsed.getheaders()}
        return Answer(parsed.status, headers, parsed.read())

    def closed(self) -> bool:
        """Whether the server has ended the connection, and has nothing more to say."""
        with contextlib.suppress(ConnectionError):
            return self._reader.read(1) == b""
        return True


@contextmanager
def connect(gateway: Gateway, timeout: float = PATIENCE) -> Iterator[Connection]:
    """A connection for as long as the test needs it."""
    made = Connection(gateway, timeout)
    try:
        yield made
    finally:
        made.close()


def request(
    gateway: Gateway,
    method: str = "POST",
    target: str = "/v1beta/interactions",
    body: bytes = b"",
    **headers: str,
) -> bytes:
    """The bytes of a good request; a header of the tests' own replaces ours, an empty one leaves it out."""
    fields = {
        "host": "127.0.0.1",
        "x-goog-api-key": gateway.key,
        "content-type": "application/json",
        "content-length": str(len(body)),
    } | {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def ask(gateway: Gateway, data: bytes, method: str = "POST", *, timeout: float = PATIENCE) -> Answer:
    """Send bytes on a connection of their own; the answer."""
    with connect(gateway, timeout) as connection:
        connection.send(data)
        return connection.answer(method)
