"""The adapter for upstreams that speak the Interactions API: Google, or another gateway.

A model is called without state: the whole conversation as steps, `store: false`, every other field
of the request as it came. What an agent does is kept by the upstream while it lasts, and followed
there: `store: true`, `background: true`.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any

import aiohttp
import orjson

from app.core import events
from app.core.events import BrokenStream, Event
from app.core.model import Json, Kept, Request, Turn
from app.errors import ApiError
from app.settings import Runs
from app.upstream.calls import Calls, ended, told_whole
from app.upstream.credentials import Credentials
from app.upstream.failures import Failures
from app.upstream.hops import hops
from app.upstream.kept import KeptRun, Patience

_PATH = "/v1beta/interactions"
_OURS = ("background", "webhook_config")
"""What the gateway does itself, or decides for itself."""


class InteractionsAdapter:
    """Speaks the steps schema over HTTP."""

    def __init__(
        self,
        name: str,
        session: aiohttp.ClientSession,
        base_url: str,
        credentials: Credentials,
        limits: Runs,
        patience: Patience = Patience(),  # noqa: B008 - it is frozen
    ) -> None:
        self.name = name
        self._session = session
        self._url = base_url.rstrip("/") + _PATH
        self._credentials = credentials
        self._failures = Failures(name, credentials.keys())
        self._limits = limits
        self._patience = patience

    async def run(self, turn: Turn) -> AsyncGenerator[Event, None]:
        """Call the upstream; its events as they arrive, or the events of its unary answer."""
        if turn.kept is not None:
            calls = self._calls(turn.kept.credential or turn.credential, turn.kept.affinity or turn.affinity)
            heard = KeptRun(calls, self._patience, turn.kept, turn.told).events()
        else:
            calls = self._calls(turn.credential, turn.affinity)
            heard = self._begin(calls, turn)
        async with aclosing(heard):
            async for event in heard:
                yield event

    def _begin(self, calls: Calls, turn: Turn) -> AsyncGenerator[Event]:
        if self.keeps(turn.request):
            return self._keep(calls, turn)
        if turn.request.background:
            return hops(partial(_answer, calls, turn))
        return _answer(calls, turn)

    def keeps(self, request: Request) -> bool:
        """What an agent does outlives the connection."""
        return request.agent is not None

    async def cancel(self, kept: Kept) -> None:
        """End a kept run's work at the upstream."""
        await self._calls(kept.credential, kept.affinity).cancel(kept.id)

    async def forget(self, kept: Kept) -> None:
        """Delete what the upstream keeps of a run."""
        await self._calls(kept.credential, kept.affinity).delete(kept.id)

    async def close(self) -> None:
        """Nothing of its own: the session belongs to who made it."""

    def _calls(self, credential: str | None, affinity: str | None) -> Calls:
        failures = self._failures
        if credential is not None:
            key, failures = credential, Failures(self.name, [credential], lent=True)
        elif affinity is not None:
            key = self._credentials.of(affinity).key
        else:
            key = self._credentials.any().key
        return Calls(self._session, self._url, key, failures, self._limits, self._credentials.note)

    async def _keep(self, calls: Calls, turn: Turn) -> AsyncGenerator[Event]:
        """Begin a run that the upstream keeps, in the background unless the agent cannot work there."""
        kept, begun = {"store": True, "stream": True}, False
        try:
            async with aclosing(self._kept(calls, _body(turn, **kept, background=True))) as heard:
                async for event in heard:
                    begun = True
                    yield event
        except ApiError as error:
            if begun or error.status != 400 or "background" not in error.message.lower():
                raise
        else:
            return
        async with aclosing(self._kept(calls, _body(turn, **kept))) as heard:
            async for event in heard:
                yield event

    def _kept(self, calls: Calls, body: bytes) -> AsyncGenerator[Event]:
        run = KeptRun(calls, self._patience)
        return run.events(_opening(calls, run, body))


async def _answer(calls: Calls, turn: Turn, token: str | None = None) -> AsyncGenerator[Event]:
    """What a model says in one call that leaves nothing behind; with a token, what it says next."""
    more: Json = {"stream": True} if turn.request.stream else {}
    if token is not None:
        more["continuation_token"] = token
    async with aclosing(calls.create(_body(turn, store=False, **more))) as heard:
        async for said in heard:
            if isinstance(said, Event):
                yield said
                continue
            try:
                for event in told_whole(said):
                    yield event
            except BrokenStream as error:
                raise calls.failures.broken(error) from error


async def _opening(calls: Calls, run: KeptRun, body: bytes) -> AsyncGenerator[Event]:
    """The first stream of a kept run; of an answer that is none, what it says of the run."""
    async with aclosing(calls.create(body)) as heard:
        async for said in heard:
            if isinstance(said, Event):
                yield said
                continue
            yield events.created({name: said[name] for name in ("id", "status") if name in said})
            if ended(said):
                for event in run.from_resource(said)[1:]:
                    yield event


def _body(turn: Turn, **more: Any) -> bytes:
    request = turn.request
    body: Json = {"model": request.model} if request.model else {"agent": request.agent}
    body["input"] = orjson.Fragment(turn.steps)
    body.update({name: value for name, value in request.options.items() if name not in _OURS})
    body.update(more)
    return orjson.dumps(body)
