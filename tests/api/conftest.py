"""Gateways for the rest of the API: before a simulator process, and before a scriptable upstream."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from app.auth import keys, pepper
from app.core.versions import Versions
from app.store.database import Database
from app.store.keys import Key, Keys, Project
from tests.conftest import UPSTREAM_KEY
from tests.support.databases import KINDS, Templates
from tests.support.gateway import _PEPPER as PEPPER
from tests.support.gateway import Gateway, free_port
from tests.support.simulator import Simulator
from tests.support.upstream import ScriptedUpstream

SIMULATOR_KEYS = ("first-key-of-the-upstream", "second-key-of-the-upstream")


def upstreams(url: str, *keys: str) -> str:
    """The settings of one upstream."""
    return json.dumps([{"name": "remote", "kind": "interactions", "base_url": url, "api_keys": keys}])


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    """A running simulator."""
    running = Simulator()
    yield running
    running.stop()


@pytest.fixture(scope="session", params=KINDS)
def simulated_process(
    request: pytest.FixtureRequest,
    simulator: Simulator,
    templates: Templates,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    """See `simulated`."""
    with templates.fresh(request.param) as url:
        running = Gateway(
            tmp_path_factory.mktemp("simulated"),
            url,
            GATEWAY_UPSTREAMS=upstreams(simulator.url, *SIMULATOR_KEYS),
            GATEWAY_KEY_CACHE_SECONDS="0.2",
        )
        yield running
        running.stop()


@pytest.fixture
def simulated(simulated_process: Gateway) -> Iterator[Gateway]:
    """A gateway with two keys for a simulator, one for all tests, on both kinds."""
    yield simulated_process
    simulated_process.must_be_in_order()


@pytest.fixture(scope="session")
def remote_port() -> int:
    """Where the fronting gateway expects its upstream."""
    return free_port()


@pytest.fixture(scope="session", params=KINDS)
def fronting_process(
    request: pytest.FixtureRequest,
    templates: Templates,
    tmp_path_factory: pytest.TempPathFactory,
    remote_port: int,
) -> Iterator[Gateway]:
    """See `fronting`."""
    with templates.fresh(request.param) as url:
        running = Gateway(
            tmp_path_factory.mktemp("fronting"),
            url,
            GATEWAY_UPSTREAMS=upstreams(f"http://127.0.0.1:{remote_port}", UPSTREAM_KEY),
            GATEWAY_TIMEOUTS__IDLE="2",
            GATEWAY_KEY_CACHE_SECONDS="0.2",
            GATEWAY_LIMITS__BODY_BYTES="65536",
            GATEWAY_LIMITS__BODY_SECONDS="1.5",
            GATEWAY_LIMITS__UPLOAD_BYTES=str(2**20),
            GATEWAY_LOG_LEVEL="debug",
        )
        yield running
        running.stop()


@pytest.fixture
def fronting(fronting_process: Gateway) -> Iterator[Gateway]:
    """A gateway before a scriptable upstream (`remote`), one for all tests, on both kinds."""
    yield fronting_process
    fronting_process.must_be_in_order()


@pytest.fixture(scope="session")
def other_key(fronting_process: Gateway) -> str:
    """A key of another project of the fronting gateway."""
    return new_key(fronting_process)


@pytest.fixture
def project(simulated: Gateway) -> Iterator[Callable[[], httpx.Client]]:
    """Make clients of the simulated gateway, each with a project of its own."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(simulated.client(new_key(simulated)))


@pytest.fixture
async def remote(remote_port: int) -> AsyncIterator[ScriptedUpstream]:
    """The upstream of the fronting gateway."""
    async with ScriptedUpstream(remote_port) as scripted:
        yield scripted


@pytest.fixture
async def http(fronting: Gateway) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the fronting gateway."""
    async with client(fronting) as made:
        yield made


def new_key(gateway: Gateway) -> str:
    """A key of a new project, made without the command line, which takes a second."""
    key, name = keys.new_key(), f"project-{secrets.token_hex(4)}"

    async def make() -> None:
        database = Database(gateway.database_url)
        store = Keys(database)
        await store.create_project(Project(name, name, 1, None))
        record = Key(name, name, name, "test", keys.shown(key), 1, None, None)
        await store.create(record, pepper.digest(Versions(PEPPER.encode()), key))
        await database.close()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, make()).result()
    return key


def client(gateway: Gateway, key: str | None = None, **headers: str) -> httpx.AsyncClient:
    """A client of a gateway, with this key or the gateway's first; no key when it is empty."""
    key = gateway.key if key is None else key
    return httpx.AsyncClient(
        base_url=gateway.url,
        headers={**({"x-goog-api-key": key} if key else {}), **headers},
        timeout=30,
        trust_env=False,
    )
