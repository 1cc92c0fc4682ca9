"""Processes of `gateway`, forked from one that has imported everything: a start costs a tenth of the time.

What is forked does what the command does, with arguments, environment, folder and files of its own.

    start() --request, files--> nursery --fork--> warden --fork--> gateway
       ^                                            |
       +---------------- pid, exit code ------------+
"""

import functools
import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

_ROOT = Path(__file__).parents[2]
_FILES = 4
"""Request, standard output and error, and where the warden tells what becomes of it."""
_ONE_AT_A_TIME = threading.Lock()


class Forked:
    """A forked process, as `subprocess.Popen` shows one."""

    def __init__(self, told: int) -> None:
        self._told = os.fdopen(told, "rb", buffering=0)
        self.returncode: int | None = None
        self.pid = int(self._line())

    def poll(self) -> int | None:
        """Its exit code, if it has ended."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, once it has ended."""
        code = self._ended(timeout)
        if code is None:
            raise subprocess.TimeoutExpired("gateway", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, if it has not ended; until its code is read its number is nobody else's."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            self.returncode = int(self._line())
            self._told.close()
        return self.returncode

    def _line(self) -> bytes:
        return b"".join(iter(lambda: self._told.read(1).strip(), b""))


def start(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, out: IO[Any], errors: IO[Any]
) -> Forked:
    """Begin `gateway` with these arguments."""
    told, tell = os.pipe()
    request = {"arguments": [*arguments], "environment": {**environment}, "folder": str(folder)}
    with tempfile.TemporaryFile("w+") as asked:
        json.dump(request, asked)
        asked.flush()
        files = [asked.fileno(), out.fileno(), errors.fileno(), tell]
        with _ONE_AT_A_TIME:
            socket.send_fds(_nursery()[0], [b"!"], files)
    os.close(tell)
    return Forked(told)


def close() -> None:
    """End the nursery, if there is one; what it has forked goes on."""
    if _nursery.cache_info().currsize:
        line, process = _nursery()
        line.close()
        process.wait()
        _nursery.cache_clear()


@functools.cache
def _nursery() -> tuple[socket.socket, "subprocess.Popen[bytes]"]:
    """The nursery of this process, and the way to it; it ends when that is closed."""
    mine, its = socket.socketpair()
    with its:
        process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(its.fileno())],
            env={**os.environ, "PYTHONPATH": str(_ROOT)},
            pass_fds=[its.fileno()],
            stdin=subprocess.DEVNULL,
        )
    return mine, process


def _asked(line: socket.socket) -> list[int] | None:
    """The files of the next request; of the last, in the process that is to do it. None at the end."""
    while True:
        said, files, *_ = socket.recv_fds(line, 1, _FILES)
        if not said:
            return None
        if os.fork() == 0:
            line.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            _watch(files[-1])
            return files
        for each in files:
            os.close(each)


def _watch(tell: int) -> None:
    """Fork, and return in the new process; the old one waits for its end and tells of it."""
    if (pid := os.fork()) == 0:
        os.close(tell)
        return
    os.write(tell, f"{pid}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(tell, f"{code}\n".encode())
    os._exit(0)


def _main(line: socket.socket) -> None:
    from app.admin import cli

    __import__("app.main")
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for wardens
    files = _asked(line)
    if files is None:
        return
    with os.fdopen(files[0]) as asked:
        asked.seek(0)
        request = json.load(asked)
    for number, file in ((1, files[1]), (2, files[2])):
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.argv = ["gateway", *request["arguments"]]
    cli.main()


if __name__ == "__main__":
    _main(socket.socket(fileno=int(sys.argv[1])))
