"""The SDK's asynchronous client, to be called as if it were the synchronous one."""

import asyncio
from collections.abc import Awaitable
from typing import Any


class BlockingClient:
    """Runs every call of the asynchronous client to its end, and streams event by event."""

    def __init__(self, client: Any, runner: asyncio.Runner) -> None:
        self._client = client  # one that nobody holds closes its connections
        self.interactions = _Calls(client.aio.interactions, runner)
        self.models = _Calls(client.aio.models, runner)
        self.files = _Calls(client.aio.files, runner)
        self.file_search_stores = _Calls(client.aio.file_search_stores, runner)


class _Calls:
    def __init__(self, calls: Any, runner: asyncio.Runner) -> None:
        self._calls = calls
        self._runner = runner

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            answer = self._runner.run(_done(getattr(self._calls, name)(*given, **named)))
            return _Stream(answer, self._runner) if hasattr(answer, "__aiter__") else answer

        return call


class _Stream:
    def __init__(self, stream: Any, runner: asyncio.Runner) -> None:
        self._stream = stream
        self._runner = runner

    def __iter__(self) -> "_Stream":
        return self

    def __next__(self) -> Any:
        event = self._runner.run(_done(anext(self._stream, None)))
        if event is None:
            raise StopIteration
        return event

    def close(self) -> None:
        self._runner.run(_done(self._stream.close()))


async def _done(call: Awaitable[Any]) -> Any:
    return await call
