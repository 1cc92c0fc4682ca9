"""Gateways for the clients of all versions, in front of an upstream that has the whole API."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from tests.conftest import UPSTREAM_KEY
from tests.sdk.matrix.running import Matrix, Run
from tests.sdk.matrix.versions import ROOT
from tests.support import PATIENCE
from tests.support.databases import Templates
from tests.support.gateway import Gateway, free_port

_UPSTREAM = "tests.sdk.matrix.upstream:create_app"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--write-compatibility", action="store_true", help="write the table of docs/compatibility.md again"
    )


@pytest.fixture(scope="session")
def whole_upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of the upstream, a process of its own."""
    port = free_port()
    log = tmp_path_factory.mktemp("upstream") / "log"
    command = [sys.executable, "-m", "uvicorn", "--factory", _UPSTREAM, "--port", str(port)]
    with (
        log.open("w") as out,
        subprocess.Popen([*command, "--log-level", "warning"], cwd=ROOT, stdout=out, stderr=out) as process,
    ):
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + 2 * PATIENCE
        while not _answers(f"{url}/v1/models"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield url
        process.terminate()


@pytest.fixture(scope="session")
def matrix(
    request: pytest.FixtureRequest,
    templates: Templates,
    tmp_path_factory: pytest.TempPathFactory,
    whole_upstream: str,
) -> Iterator[Matrix]:
    """The runs. Those on SQLite that this session will ask for begin at once."""
    upstream = {"name": "whole", "kind": "interactions", "base_url": whole_upstream}
    settings = {"GATEWAY_UPSTREAMS": json.dumps([upstream | {"api_keys": [UPSTREAM_KEY]}])}
    gateways: dict[str, Gateway] = {}
    with ExitStack() as stack:

        def gateway_of(database: str) -> Gateway:
            if database not in gateways:
                url = stack.enter_context(templates.fresh(database))
                gateways[database] = Gateway(tmp_path_factory.mktemp("matrix"), url, **settings)
                stack.callback(gateways[database].stop)
            return gateways[database]

        started = Matrix(gateway_of)
        stack.callback(started.close)
        for item in request.session.items:
            run = getattr(item, "callspec", None) and item.callspec.params.get("run")  # type: ignore[attr-defined]
            if isinstance(run, Run) and run.database == "sqlite" and run.version.runs_here:
                started.start(run)
        yield started
        for gateway in gateways.values():
            gateway.must_be_in_order()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
