"""The commands that stay: serve and simulate, as processes of their own."""

import contextlib
import itertools
import os
import pty
import re
import select
import signal
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.support import PATIENCE
from tests.support.gateway import COMMAND, clean_environment

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def folder(tmp_path: Path, database_url: str) -> Iterator["Folder"]:
    """A folder with a database and no pepper, in which to run commands."""
    with ExitStack() as stack:
        yield Folder(tmp_path, database_url, stack)


class Folder:
    """Where `gateway` is run."""

    def __init__(self, path: Path, database_url: str, stack: ExitStack) -> None:
        self.path = path
        self.environment = clean_environment(GATEWAY_DATABASE_URL=database_url)
        self._stack = stack
        self._numbers = itertools.count()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command that ends."""
        return subprocess.run(
            [COMMAND, *arguments],
            env=self.environment,
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=2 * PATIENCE,
            check=False,
        )

    def start(self, *arguments: str) -> "Started":
        """A command that stays."""
        log = self.path / f"log-{next(self._numbers)}"
        with log.open("x") as out:
            process = subprocess.Popen(
                [COMMAND, *arguments], env=self.environment, cwd=self.path, stdout=out, stderr=out
            )
        self._stack.callback(process.wait, PATIENCE)
        self._stack.callback(process.kill)
        return Started(process, log)


class Started:
    """A command that stays until it is told to end."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log
        self.url = self._url()

    def _url(self) -> str:
        """What it says where it is, as soon as it answers there."""
        deadline = time.monotonic() + 2 * PATIENCE
        while self._process.poll() is None and time.monotonic() < deadline:
            found = re.search(r"on (http\S+)", self.printed())
            with contextlib.suppress(httpx.TransportError):
                if found and httpx.get(found[1] + "/readyz", timeout=5, trust_env=False):
                    return found[1]
            time.sleep(0.02)
        raise AssertionError(self.printed())

    def printed(self) -> str:
        return self._log.read_text()

    def create(self, key: str, **body: str | None) -> httpx.Response:
        """Ask for an interaction."""
        return httpx.post(
            self.url + "/v1beta/interactions",
            json={"model": "m", "input": "Hello", **body},
            headers={"x-goog-api-key": key},
            timeout=PATIENCE,
            trust_env=False,
        )

    def end(self) -> str:
        """What it printed until it ended in good order."""
        self._process.terminate()
        assert self._process.wait(2 * PATIENCE) in (0, -signal.SIGTERM), self.printed()
        assert "Traceback" not in self.printed()
        return self.printed()


def test_the_first_start_prints_a_key_and_no_other_does(folder: Folder):
    first = folder.start("serve", "--port", "0")
    printed = first.end()
    assert f"export GOOGLE_GEMINI_BASE_URL={first.url}\n" in printed
    [key] = re.findall(r"^export GEMINI_API_KEY=(igw_\w+)$", printed, re.MULTILINE)
    assert "first key, of project 'default'" in printed
    second = folder.start("serve", "--port", "0")
    assert second.create(key).status_code == 200
    assert "igw_" not in second.end()
    assert stat.S_IMODE((folder.path / "data" / "pepper").stat().st_mode) == 0o600


def test_several_workers_serve_one_database(folder: Folder):
    started = folder.start("serve", "--port", "0", "--workers", "2")
    [key] = re.findall(r"^export GEMINI_API_KEY=(igw_\w+)$", started.printed(), re.MULTILINE)
    made: list[str] = []
    for _ in range(20):  # each on a connection of its own, so that both workers get some
        answer = started.create(key, previous_interaction_id=made[-1] if made else None)
        assert answer.status_code == 200, answer.text
        made.append(answer.json()["id"])
    with httpx.Client(base_url=started.url, headers={"x-goog-api-key": key}, timeout=PATIENCE) as client:
        assert [client.get(f"/v1/interactions/{one}").status_code for one in made] == [200] * 20
    started.end()


@ON_SQLITE
def test_a_port_that_is_taken_is_one_line_and_starts_nothing(folder: Folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments in (("serve", "--port", port), ("simulate", "--port", port)):
            refused = folder.run(*arguments)
            assert (refused.returncode, refused.stdout) == (1, "")
            assert re.fullmatch(r"gateway: .*in use.*\n", refused.stderr)
    assert not (folder.path / "data").exists()


@ON_SQLITE
def test_the_simulator_serves_without_a_key_or_a_database(folder: Folder):
    started = folder.start("simulate", "--port", "0")
    assert started.create("any").json()["status"] == "completed"
    assert started.end().startswith(f"Simulator on {started.url}\n")
    assert not (folder.path / "data").exists()


def test_replicas_that_start_together_make_one_project_and_a_key(folder: Folder):
    gate = threading.Barrier(2)

    def start() -> Started:
        gate.wait()
        return folder.start("serve", "--port", "0")

    with ThreadPoolExecutor(2) as threads:
        first, second = (future.result() for future in [threads.submit(start) for _ in range(2)])
    printed = first.end() + second.end()
    assert folder.run("projects", "list").stdout.count('"name": "default"') == 1
    made = re.findall(r"^export GEMINI_API_KEY=(igw_\w+)$", printed, re.MULTILINE)
    assert folder.run("keys", "list").stdout.count('"prefix": "igw_') == len(made) >= 1


@ON_SQLITE
def test_people_get_tables(folder: Folder):
    made = on_a_terminal(folder, "projects", "create", "acme", "--retention-days", "7")
    assert re.search(r"^name +acme\r?$", made, re.MULTILINE)
    shown = on_a_terminal(folder, "projects", "list")
    lines = [line.split() for line in shown.splitlines() if line.strip()]
    assert lines[0] == ["name", "id", "created_at", "retention_days", "owner"]
    assert re.search(r"acme +prj_\S+ +\d{4}-\d\d-\d\d \d\d:\d\d +7", shown)
    key = on_a_terminal(folder, "keys", "create", "-p", "acme", "--name", "x")
    assert re.fullmatch(r"igw_[A-Za-z0-9]{42}", key.strip())


def on_a_terminal(folder: Folder, *arguments: str) -> str:
    """What a command prints on a terminal 120 columns wide, without colours."""
    master, slave = pty.openpty()
    environment = folder.environment | {"COLUMNS": "120", "TERM": "dumb"}
    process = subprocess.Popen([COMMAND, *arguments], env=environment, cwd=folder.path, stdout=slave)
    os.close(slave)
    printed = b"".join(read(master))
    os.close(master)
    assert process.wait(PATIENCE) == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.decode())


def read(master: int) -> Iterator[bytes]:
    while select.select([master], [], [], PATIENCE)[0]:
        try:
            yield os.read(master, 65536)
        except OSError:  # how a terminal says that it has been left
            return
