"""Who is asked: the upstream itself, or a gateway on either database, with or without storing."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.support.databases import Templates, require_postgresql
from tests.support.gateway import Gateway, clean_environment, free_port

_ROOT = Path(__file__).parents[1]
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Place:
    """Where requests go; `pid` is the process whose time counts."""

    name: str
    port: int
    pid: int
    key: str
    store: bool = True

    def processor(self) -> float:
        """The processor time that the process has used, in seconds."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@contextmanager
def upstream() -> Iterator[Place]:
    """The upstream, as a process."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.upstream", str(port)], cwd=_ROOT, env=clean_environment()
    )
    try:
        _wait(port)
        pin(process.pid, 1)
        yield Place("upstream, directly", port, process.pid, "k")
    finally:
        process.kill()
        process.wait()


@contextmanager
def gateway(kind: str, folder: Path, upstream_port: int) -> Iterator[list[Place]]:
    """A gateway on this kind of database: as a relay that stores nothing, and as it is."""
    templates = Templates(folder)
    where = f"http://127.0.0.1:{upstream_port}"
    upstreams = [{"name": "fast", "kind": "interactions", "base_url": where, "api_keys": ["k"]}]
    settings = {"GATEWAY_UPSTREAMS": json.dumps(upstreams), "GATEWAY_RUNS__CONCURRENT_PER_PROJECT": "500"}
    try:
        with templates.fresh(kind) as url:
            running = Gateway(folder, url, **settings)
            assert running.process is not None
            try:
                pid = running.process.pid
                pin(pid, 0)
                key = running.key
                yield [
                    Place(f"{kind}, store: false", running.port, pid, key, store=False),
                    Place(f"{kind}, stored", running.port, pid, key),
                ]
            finally:
                running.stop()
    finally:
        templates.close()


def has_postgresql() -> bool:
    """Whether there is one to measure with."""
    try:
        require_postgresql()
    except BaseException:  # noqa: BLE001 - pytest's own way to say that there is none
        return False
    return True


def pin(pid: int, core: int) -> None:
    """Keep a process on one core, where the machine has several: the gateway on the first, alone."""
    with suppress(OSError):
        cores = sorted(os.sched_getaffinity(0) | os.sched_getaffinity(pid))
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {cores[core % len(cores)]})


def _wait(port: int) -> None:
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)
    raise AssertionError("the upstream did not start")


def postgresql_version() -> str:
    """The version of the server."""
    server = os.environ.get("GATEWAY_TEST_POSTGRES", "postgresql://127.0.0.1:5432")
    with psycopg.connect(f"{server}/postgres") as connection:
        row = connection.execute("SHOW server_version").fetchone()
    return str(row[0]).split()[0] if row else "?"
