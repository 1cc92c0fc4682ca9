"""The gateway as its users run it: a process of its own on a loopback port."""

import functools
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from tests.support import PATIENCE, forked

COMMAND = str(Path(sys.executable).with_name("gateway"))
_PEPPER = "a pepper for the tests, long enough 0123456789"


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Gateway:
    """A gateway process; starts at once, and again by `start()` after `kill()` or `stop()`."""

    def __init__(self, folder: Path, database_url: str, **settings: str) -> None:
        self.folder = folder
        self.database_url = database_url
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = folder / f"gateway-{self.port}.log"
        usual = {
            "GATEWAY_DATABASE_URL": database_url,
            "GATEWAY_DATA_DIR": str(folder / "data"),
            "GATEWAY_PEPPER": _PEPPER,
        }
        self.environment = clean_environment(**usual | settings)
        self.process: subprocess.Popen[bytes] | forked.Forked | None = None
        self._looked_through = 0
        self.start()

    def start(self, *arguments: str) -> None:
        """Start the process and wait until it serves."""
        command = ["serve", "--port", str(self.port), *arguments]
        with self._log.open("ab") as log:
            if arguments or "LD_PRELOAD" in self.environment:  # workers and loaders need a start from nothing
                self.process = subprocess.Popen(
                    [COMMAND, *command], env=self.environment, stdout=log, stderr=log, cwd=self.folder
                )
            else:
                self.process = forked.start(command, self.environment, self.folder, log, log)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError(f"the gateway did not start:\n{self.log()}")

    def kill(self) -> None:
        """kill -9."""
        self._signal(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._signal(signal.SIGTERM)

    def signal(self, number: int) -> None:
        """Send a signal and do not wait."""
        assert self.process is not None
        self.process.send_signal(number)

    @property
    def memory(self) -> int:
        """The resident memory of the process, in bytes."""
        return self._memory("VmRSS")

    @property
    def most_memory(self) -> int:
        """The most memory it has had so far."""
        return self._memory("VmHWM")

    def log(self) -> str:
        """Everything the process has printed."""
        return self._log.read_text()

    def must_be_in_order(self) -> None:
        """Serves, and has met nothing that it did not foresee."""
        assert self.process is not None
        assert self.process.poll() is None, f"it has gone ({self.process.poll()}):\n{self.log()[-4000:]}"
        assert (
            httpx.get(f"{self.url}/readyz", timeout=PATIENCE, trust_env=False, verify=False).status_code
            == 200
        )
        log, before = self.log(), self._looked_through
        self._looked_through = len(log)
        for bad in ("nobody foresaw", "Exception in ASGI", "never retrieved", "Traceback"):
            assert bad not in log[before:], log[before:]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a `gateway` command against the same database."""
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
            process = forked.start(arguments, self.environment, self.folder, out, errors)
            try:
                code = process.wait(2 * PATIENCE)
            finally:
                process.kill()
            for each in (out, errors):
                each.seek(0)
            return subprocess.CompletedProcess(arguments, code, out.read(), errors.read())

    def new_key(self, project: str | None = None) -> str:
        """A key of this project, or of a new one."""
        if project is None:
            project = f"project-{secrets.token_hex(4)}"
            assert self.run("projects", "create", project).returncode == 0
        made = self.run("keys", "create", "--project", project, "--name", "test", "--json")
        assert made.returncode == 0, made.stderr
        return str(json.loads(made.stdout)["key"])

    def client(self, key: str | None = None) -> httpx.Client:
        """A plain HTTP client with a key."""
        headers = {"x-goog-api-key": key or self.key}
        return httpx.Client(base_url=self.url, headers=headers, timeout=PATIENCE, trust_env=False)

    def create(self, key: str | None = None, **body: Any) -> dict[str, Any]:
        """POST an interaction that must succeed."""
        with self.client(key) as client:
            answer = client.post("/v1beta/interactions", json={"model": "test-model", **body})
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    @functools.cached_property
    def key(self) -> str:
        """The key that the first start has printed; a new one where the database has keys already."""
        if self.environment.get("GATEWAY_AUTH") == "passthrough":
            return ""
        printed = re.search(r"^export GEMINI_API_KEY=(\S+)", self.log(), re.MULTILINE)
        return printed[1] if printed else self.new_key("default")

    def _memory(self, name: str) -> int:
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(rf"^{name}:\s+(\d+) kB$", status, re.MULTILINE)
        assert found, f"the gateway has gone ({self.process.poll()}):\n{self.log()}"
        return int(found[1]) * 1024

    def _signal(self, number: int) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        return process.wait(2 * PATIENCE)


def clean_environment(**more: str) -> dict[str, str]:
    """This environment without anything that could steer the gateway or an SDK, and with more."""
    steers = re.compile(r"^(GATEWAY|GEMINI|GOOGLE)_")
    return {name: value for name, value in os.environ.items() if not steers.match(name)} | more
