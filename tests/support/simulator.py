"""The simulator as its users run it: `gateway simulate`, a process of its own."""

import subprocess
import time

import httpx

from tests.support.gateway import COMMAND, clean_environment, free_port


class Simulator:
    """A simulator process on a loopback port."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = subprocess.Popen(
            [COMMAND, "simulate", "--port", str(self.port)],
            env=clean_environment(),
            stdout=subprocess.DEVNULL,
        )
        for _ in range(1000):
            try:
                httpx.get(self.url, timeout=1, trust_env=False)
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return
        self.stop()
        raise AssertionError("the simulator did not start")

    def client(self, key: str) -> httpx.Client:
        """A client that asks the simulator itself."""
        return httpx.Client(
            base_url=self.url,
            headers={"x-goog-api-key": key},
            timeout=30,
            follow_redirects=True,
            trust_env=False,
        )

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
