"""The official SDK, with nothing changed but its base URL and its key."""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from google import genai
from google.genai import types

from tests.sdk.blocking import BlockingClient
from tests.support.gateway import Gateway

_STEERS = ("GEMINI_", "GOOGLE_")


@pytest.fixture(scope="session", autouse=True)
def nothing_steers_the_sdk() -> Iterator[None]:
    """No key and no base URL of this machine's reaches the SDK, and no proxy stands before the gateway."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(_STEERS)]:
            patch.delenv(name)
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "127.0.0.1")
        yield


Connect = Callable[..., Any]


@pytest.fixture
def connect(gateway: Gateway) -> Iterator[Connect]:
    """Make clients: with a key, the gateway's own unless told, and with options for HTTP."""
    with ExitStack() as stack:

        def made(key: str | None = None, **options: Any) -> genai.Client:
            return stack.enter_context(_sdk(gateway, key, **options))

        yield made


@pytest.fixture(scope="module", params=["sync", "async"])
def client(request: pytest.FixtureRequest, gateway: Gateway) -> Iterator[Any]:
    """The SDK's synchronous client, and its asynchronous one."""
    made = _sdk(gateway)
    if request.param == "sync":
        yield made
        made.close()
        return
    with asyncio.Runner() as runner:
        yield BlockingClient(made, runner)
        runner.run(made.aio.aclose())


@pytest.fixture(scope="session")
def other_key(gateway: Gateway) -> str:
    """A key of another project."""
    return gateway.new_key()


def _sdk(gateway: Gateway, key: str | None = None, **options: Any) -> genai.Client:
    http = types.HttpOptions(base_url=gateway.url, **options)
    return genai.Client(api_key=key or gateway.key, http_options=http)
