"""Fixtures for every test: databases of both kinds, gateways, a scriptable upstream."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest

from app.store.database import Database
from tests.support import forked
from tests.support.client import Client
from tests.support.databases import KINDS, Templates
from tests.support.gateway import Gateway, free_port
from tests.support.upstream import ScriptedUpstream

GatewayFactory = Callable[..., Gateway]
UPSTREAM_KEY = "upstream-secret-key-0123456789"

# The same examples in every run; `--hypothesis-profile=search` looks for new ones, and for longer.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.register_profile("search", max_examples=5000, deadline=None)
hypothesis.settings.load_profile("fixed")


def scripted(url: str, key: str = UPSTREAM_KEY) -> str:
    """The setting `upstreams` with this one."""
    return json.dumps([{"name": "scripted", "kind": "interactions", "base_url": url, "api_keys": [key]}])


@pytest.fixture(scope="session", autouse=True)
def nursery() -> Iterator[None]:
    """What gateways are forked from ends with the tests."""
    yield
    forked.close()


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Templates]:
    """Migrated databases to copy."""
    made = Templates(tmp_path_factory.mktemp("databases"))
    yield made
    made.close()


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, templates: Templates) -> Iterator[str]:
    """A migrated, empty database: the test runs on SQLite and on PostgreSQL."""
    with templates.fresh(request.param) as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An open database, on both kinds."""
    opened = Database(database_url)
    yield opened
    await opened.close()


@pytest.fixture(scope="session", params=KINDS)
def gateway(
    request: pytest.FixtureRequest, templates: Templates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    """A gateway with the embedded simulator, one for all tests that do not harm it, on both kinds."""
    with templates.fresh(request.param) as url:
        running = Gateway(tmp_path_factory.mktemp("gateway"), url)
        yield running
        running.stop()


@pytest.fixture
def start_gateway(database_url: str, tmp_path: Path) -> Iterator[GatewayFactory]:
    """Start a gateway of the test's own; keyword arguments are settings, `upstream` a base URL."""
    with ExitStack() as stack:

        def start(upstream: str | None = None, **settings: str) -> Gateway:
            if upstream is not None:
                settings["GATEWAY_UPSTREAMS"] = scripted(upstream)
            running = Gateway(tmp_path, database_url, **settings)
            stack.callback(running.kill)
            return running

        yield start


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """An upstream that does what the test says, on a real socket."""
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def scripted_gateway(start_gateway: GatewayFactory, upstream: ScriptedUpstream) -> Gateway:
    """A gateway of the test's own, in front of the scriptable upstream."""
    return await asyncio.to_thread(start_gateway, upstream.url)


@pytest.fixture(scope="session")
def narrow(templates: Templates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with narrow limits and the simulator: for what is refused before any database is asked."""
    with templates.fresh("sqlite") as url:
        running = Gateway(
            tmp_path_factory.mktemp("narrow"),
            url,
            GATEWAY_LIMITS__BODY_BYTES="65536",
            GATEWAY_LIMITS__BODY_SECONDS="1.5",
            GATEWAY_LIMITS__HEADER_BYTES="8192",
            GATEWAY_LIMITS__HEADER_COUNT="40",
            GATEWAY_LIMITS__HEADER_SECONDS="1.5",
            GATEWAY_LIMITS__JSON_DEPTH="50",
        )
        yield running
        running.stop()


@pytest.fixture(scope="session")
def upstream_port() -> int:
    """Where the impatient gateway expects its upstream."""
    return free_port()


@pytest.fixture(scope="session", params=KINDS)
def impatient_process(
    request: pytest.FixtureRequest,
    templates: Templates,
    tmp_path_factory: pytest.TempPathFactory,
    upstream_port: int,
) -> Iterator[Gateway]:
    """See `impatient`."""
    elsewhere = {
        "refused": f"http://127.0.0.1:{free_port()}",
        "unknown": "https://no-such-host.invalid",
        "tls": f"https://127.0.0.1:{upstream_port}",
        "scripted": f"http://127.0.0.1:{upstream_port}",
    }
    upstreams = [
        {
            "name": name,
            "kind": "interactions",
            "base_url": url,
            "api_keys": [UPSTREAM_KEY],
            "models": ["*" if name == "scripted" else f"{name}-*"],
        }
        for name, url in elsewhere.items()
    ]
    with templates.fresh(request.param) as url:
        running = Gateway(
            tmp_path_factory.mktemp("impatient"),
            url,
            GATEWAY_UPSTREAMS=json.dumps(upstreams),
            GATEWAY_LOG_FORMAT="json",
            GATEWAY_TIMEOUTS__CONNECT="3",
            GATEWAY_TIMEOUTS__IDLE="2",
            GATEWAY_TIMEOUTS__RUN="10",
            GATEWAY_KEY_CACHE_SECONDS="0.5",
            GATEWAY_RUNS__EVENT_BYTES=str(16 * 2**20),
            GATEWAY_RUNS__ANSWER_BYTES=str(20 * 2**20),
        )
        yield running
        running.stop()


@pytest.fixture
def impatient(impatient_process: Gateway) -> Iterator[Gateway]:
    """A gateway that waits briefly for its upstream (`faulty`), one for all tests, on both kinds.

    Whatever a test did to it, it must still be in order afterwards.
    """
    yield impatient_process
    impatient_process.must_be_in_order()


@pytest.fixture
async def faulty(upstream_port: int) -> AsyncIterator[ScriptedUpstream]:
    """The upstream of the impatient gateway."""
    async with ScriptedUpstream(upstream_port) as scripted:
        yield scripted


@pytest.fixture
async def client(impatient: Gateway) -> AsyncIterator[Client]:
    """A client of the impatient gateway."""
    async with Client(impatient) as made:
        yield made
