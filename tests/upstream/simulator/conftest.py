"""The simulator as a server on a loopback port, and a client for it."""

import threading
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
import uvicorn

from app.upstream.simulator.server import create_app


@pytest.fixture(scope="session")
def simulator() -> Iterator[uvicorn.Server]:
    """A running simulator."""
    config = uvicorn.Config(
        create_app,
        factory=True,
        host="127.0.0.1",
        port=0,
        ws="none",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="session")
def simulator_url(simulator: uvicorn.Server) -> str:
    """Where the simulator listens."""
    return f"http://127.0.0.1:{simulator.servers[0].sockets[0].getsockname()[1]}"


@pytest.fixture
async def client(simulator_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with a key."""
    headers = {"x-goog-api-key": "any"}
    async with httpx.AsyncClient(base_url=simulator_url, headers=headers, timeout=60) as opened:
        yield opened
