"""Two replicas on one database for all tests that do not harm them, on both kinds."""

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import GatewayFactory, scripted
from tests.support.client import Client
from tests.support.databases import KINDS, Templates
from tests.support.gateway import Gateway, free_port
from tests.support.records import Records
from tests.support.runs import QUICK
from tests.support.upstream import ScriptedUpstream

PRICES = """
default_output = 100
batch_percent = 50

[[prices]]
models = ["test-*"]
since = 2020-01-01
input = 1.00
output = 10.00
"""


@dataclass(frozen=True)
class Replicas:
    """Two processes on one database, and keys: of a project, of the same one, and of another."""

    one: Gateway
    other: Gateway
    upstream_port: int
    colleague: str
    stranger: str

    @property
    def log(self) -> str:
        """What both have printed."""
        return self.one.log() + self.other.log()

    def count(self, condition: str = "1 = 1") -> int:
        """How many interactions there are."""
        with Records(self.one.database_url) as records:
            return records.count("interactions", condition)


@pytest.fixture(scope="session", params=KINDS)
def running_replicas(
    request: pytest.FixtureRequest, templates: Templates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Replicas]:
    """See `replicas`."""
    port, folder = free_port(), tmp_path_factory.mktemp("replicas")
    settings = {**QUICK, "GATEWAY_UPSTREAMS": scripted(f"http://127.0.0.1:{port}")}
    with templates.fresh(request.param) as url, ThreadPoolExecutor(2) as starting:
        started = [starting.submit(Gateway, folder, url, **settings) for _ in range(2)]
        # Which of them has made the first key, and printed it, is a matter of chance.
        one, other = sorted((each.result() for each in started), key=lambda each: "igw_" not in each.log())
        keys = [starting.submit(one.new_key, project) for project in ("default", None)]
        yield Replicas(one, other, port, *(key.result() for key in keys))
        one.stop()
        other.stop()


@pytest.fixture
def replicas(running_replicas: Replicas) -> Iterator[Replicas]:
    """Two replicas; whatever a test did to them, they must still be in order afterwards."""
    yield running_replicas
    running_replicas.one.must_be_in_order()
    running_replicas.other.must_be_in_order()


@pytest.fixture
async def behind(running_replicas: Replicas) -> AsyncIterator[ScriptedUpstream]:
    """The upstream of the two replicas."""
    async with ScriptedUpstream(running_replicas.upstream_port) as made:
        yield made


@pytest.fixture
async def here(replicas: Replicas) -> AsyncIterator[Client]:
    """A client of one replica."""
    async with Client(replicas.one) as made:
        yield made


@pytest.fixture
async def there(replicas: Replicas, here: Client) -> AsyncIterator[Client]:
    """The same client at the other replica."""
    async with Client(replicas.other, replicas.one.key, question=here.question) as made:
        yield made


@pytest.fixture
def prices(tmp_path: Path) -> str:
    """A price table in which a token of input costs a millionth of a dollar, one of output ten."""
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return str(path)


@pytest.fixture
def priced(start_gateway: GatewayFactory, prices: str):
    """A gateway with these prices that notices budgets at once."""

    def start(upstream: str | None = None, **settings: str) -> Gateway:
        usual = {
            "GATEWAY_PRICES": prices,
            "GATEWAY_KEY_CACHE_SECONDS": "0",
            "GATEWAY_RETENTION__SWEEP_SECONDS": "0.3",
        }
        return start_gateway(upstream, **(usual | settings))

    return start
