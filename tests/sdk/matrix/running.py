"""Runs: all scenarios with one version of the SDK against one gateway, two at a time, each run once."""

import json
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from tests.sdk.matrix.versions import ROOT, VERSIONS, Version
from tests.support.gateway import Gateway, clean_environment

_AT_ONCE = 2
_PYTHON = [version for version in VERSIONS if version.language == "Python"]
_NEWEST_OUTPUTS = [version for version in _PYTHON if version.parts < (2,)][-1]
_NEWEST = _PYTHON[-1]


@dataclass(frozen=True)
class Run:
    """One version with one kind of database."""

    version: Version
    database: str

    def __str__(self) -> str:
        return f"{self.version} {self.database}".replace(" ", "-").lower()


@dataclass(frozen=True)
class Outcome:
    """What became of one scenario: ok, skipped or failed, and why."""

    name: str
    result: str
    detail: str


RUNS = [Run(version, "sqlite") for version in VERSIONS] + [
    Run(version, "postgresql") for version in (_NEWEST_OUTPUTS, _NEWEST)
]


class Matrix:
    """Starts runs and waits for them."""

    def __init__(self, gateway_of: Callable[[str], Gateway]) -> None:
        self._gateway_of = gateway_of
        self._pool = ThreadPoolExecutor(_AT_ONCE)
        self._runs: dict[Run, Future[list[Outcome]]] = {}
        self._left: dict[tuple[Version, str], str] = {}
        self._locks = {version: threading.Lock() for version in VERSIONS}

    def start(self, run: Run) -> Future[list[Outcome]]:
        """Begin, unless it has begun already."""
        if run not in self._runs:
            gateway = self._gateway_of(run.database)
            self._runs[run] = self._pool.submit(self._outcomes, run, gateway)
        return self._runs[run]

    def close(self) -> None:
        """Begin nothing more."""
        self._pool.shutdown(cancel_futures=True)

    def _outcomes(self, run: Run, gateway: Gateway) -> list[Outcome]:
        other = _NEWEST if run.version.parts < (2,) else _NEWEST_OUTPUTS
        left = self._leave(other, gateway)
        told = _tell([*self._command(run.version), "--left", left], gateway)
        return [Outcome(**json.loads(line)) for line in told.splitlines() if line.startswith("{")]

    def _leave(self, version: Version, gateway: Gateway) -> str:
        """What this version has left in the gateway for the other generation to find."""
        command = self._command(version)
        place = (version, gateway.url)
        with self._locks[version]:
            if place not in self._left:
                self._left[place] = _tell([*command, "--leave"], gateway).strip()
            return self._left[place]

    def _command(self, version: Version) -> list[str]:
        with self._locks[version]:
            return version.command()


def _tell(command: list[str], gateway: Gateway) -> str:
    environment = clean_environment(
        GOOGLE_GEMINI_BASE_URL=gateway.url,
        GEMINI_API_KEY=gateway.key,
        NO_PROXY="127.0.0.1",
        no_proxy="127.0.0.1",
    )
    done = subprocess.run(
        command, cwd=ROOT, env=environment, timeout=300, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
