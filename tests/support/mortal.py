"""Gateways that kill themselves at a fault point; their parent has imported everything, and forks them.

A fault point is the moment before a statement by which a run is begun, told or ended, and the
moments before and after the commit of such statements.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from itertools import count
from typing import Any, Self

import httpx
from sqlalchemy import Connection, Engine, event

from app import settings
from app.admin import server
from tests.support import PATIENCE
from tests.support.gateway import Gateway, free_port

_OF_A_RUN = re.compile(r"INSERT INTO interactions?[ _]|UPDATE interactions SET .*\boutput=", re.DOTALL)


class Nursery:
    """Starts them, with the settings of a gateway; all of them are dead when it is left."""

    def __init__(self, like: Gateway) -> None:
        self._like = like
        self._turn = threading.Lock()

    def __enter__(self) -> Self:
        self._parent = subprocess.Popen(
            [sys.executable, "-m", __name__],
            env={**self._like.environment, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._parent.communicate()

    def start(self, point: int) -> "Mortal":
        """A gateway that dies at this point."""
        assert self._parent.stdin
        assert self._parent.stdout
        port = free_port()
        with self._turn:
            print(point, port, file=self._parent.stdin, flush=True)
            made = Mortal(self._like, int(self._parent.stdout.readline()), port)
        made.wait()
        return made


class Mortal:
    """One of them, as `Client` wants it."""

    def __init__(self, like: Gateway, pid: int, port: int) -> None:
        self.key, self.url = like.key, f"http://127.0.0.1:{port}"
        self._pid = pid

    def wait(self) -> None:
        """Until it serves."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).status_code == 200:
                    return
            time.sleep(0.02)
        raise AssertionError("it did not start")

    @property
    def dead(self) -> bool:
        """Whether it has killed itself."""
        try:
            os.kill(self._pid, 0)
        except ProcessLookupError:
            return True
        return False

    def kill(self) -> None:
        """End it, if it still lives."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGKILL)


def _die_at(point: int) -> None:
    passed = count(1)

    def pass_point() -> None:
        if next(passed) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    @event.listens_for(Engine, "before_cursor_execute")
    def executes(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if _OF_A_RUN.match(statement):
            connection.info["of a run"] = True
            pass_point()

    @event.listens_for(Engine, "commit")
    def commits(connection: Connection) -> None:
        if connection.info.pop("of a run", False):
            pass_point()
            driver: Any = connection.connection.dbapi_connection
            driver.execute("COMMIT")
            pass_point()
            if connection.dialect.name == "sqlite":
                driver.execute("BEGIN")  # SQLAlchemy is about to end it


def _main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    loaded = settings.load()
    __import__("app.main")
    children = []
    for line in sys.stdin:
        point, port = map(int, line.split())
        if child := os.fork():
            children.append(child)
            print(child, flush=True)  # noqa: T201 - how the parent of all hears of it
            continue
        _die_at(point)
        server.serve(loaded, "127.0.0.1", port, workers=1)
        os._exit(0)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    _main()
