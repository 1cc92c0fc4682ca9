"""The rest of the API: /models, /files, /cachedContents, /batches, ... at the project's upstream.

What happens beside passing on stands in the line of the allow-list (app/wire/resources.py). Where
callers bring their own keys, everything is passed on as it is.
"""

import asyncio
import contextlib
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from starlette.routing import BaseRoute, Route
from starlette.types import Message, Receive, Scope, Send

from app import ids, log
from app.api import exchange, owned, relay
from app.api.asking import Asking, Front
from app.api.errors import Endpoint
from app.api.metering import EMBEDS, METERED, Meter
from app.auth.caller import Caller
from app.core import status
from app.core.usage import NOTHING, Usage
from app.errors import ApiError
from app.runs.accounts import Call, Size
from app.store.reports import OPEN_MS
from app.upstream.failures import Refusal
from app.wire import jobs, resources
from app.wire.jobs import JOBS
from app.wire.resources import Kind

_EFFECTS: Mapping[str, Callable[[Front, Asking, Kind, Send], Awaitable[None]]] = MappingProxyType(
    {
        "lists": owned.lists,
        "makes": owned.makes,
        "renews": owned.renews,
        "removes": owned.removes,
        "yields": owned.yields,
        "mixes": owned.mixes,
    }
)


@dataclass(frozen=True, slots=True)
class ForwardRoutes:
    """The routes, with everything they need."""

    front: Front

    def routes(self) -> list[BaseRoute]:
        """One for each collection under every version of the path."""
        return [
            Route(f"/{version}/{collection}{{rest:path}}", Endpoint(self.forward, "forward"))
            for version in resources.VERSIONS
            for collection in resources.COLLECTIONS
        ]

    async def forward(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Understand the request, then do what its line says."""
        asking = await self.front.understand(scope, receive)
        line = asking.call.route
        facts = {"method": line.method, "path": line.path, "upstream": asking.account.forwarder.name}
        async with logged(send, asking.account.caller, **facts) as sending:
            effect = _EFFECTS.get(line.effect) if self.front.ownership.enforced else None
            if line.method == "POST" and _method(asking.call) in METERED:
                work: Awaitable[None] = _metered(self.front, asking, sending)
            elif line.method == "POST" and _method(asking.call) in JOBS:
                work = _begins(self.front, asking, sending)
            elif effect is None or line.kind is None:
                work = _passed_on(asking, sending)
            else:
                work = effect(self.front, asking, line.kind, sending)
            if effect is None or line.method == "GET":
                await exchange.unless_gone(receive, asyncio.ensure_future(work))
            else:  # what it makes is written down, also when nobody waits for it any more
                await work


@contextlib.asynccontextmanager
async def logged(send: Send, caller: Caller, **facts: str) -> AsyncIterator[Send]:
    """`send`, with one line in the log when the exchange is over."""
    began, status = time.monotonic(), 0

    async def sending(message: Message) -> None:
        nonlocal status
        status = message.get("status", status)
        await send(message)

    try:
        yield sending
    except ApiError as error:
        status = error.status
        raise
    finally:
        ms = int((time.monotonic() - began) * 1000)
        log.event(logging.INFO, "forwarded", project=caller.project_id, **facts, status=status, ms=ms)


async def _metered(front: Front, asking: Asking, send: Send) -> None:
    """A call that costs something: within limits and budgets, and into the ledger."""
    call, accounts = _call(asking), front.accounts
    async with front.permits.of_call(asking.account.caller, call.size) as permit:
        await accounts.reserve(call, front.settings.limits.request_seconds)
        accounts.begin(call)
        meter, ending, used = Meter(), status.FAILED, None
        try:
            async with asking.send(asking.body) as answer:
                call = dataclasses.replace(call, credential=answer.instead or call.credential)
                await relay.pass_on(send, dataclasses.replace(answer, chunks=meter.over(answer.chunks)))
            ending = status.COMPLETED if meter.ended else status.FAILED
        except ApiError as error:
            used = _used_before(error)
            raise
        except asyncio.CancelledError:
            ending = status.CANCELLED
            raise
        finally:
            used = meter.usage() or used
            accounts.settle(call, ending, used, meter.heard)
            if used is not None:
                front.permits.correct(permit, used.total_tokens)


async def _begins(front: Front, asking: Asking, send: Send) -> None:
    """A call that begins a job: its end is seen later, by whoever looks at the job."""
    call, accounts, kind = _call(asking), front.accounts, asking.call.route.kind
    async with front.permits.of_call(asking.account.caller, call.size):
        await accounts.reserve(call, OPEN_MS / 1000)
        accounts.begin(call)
        try:
            if kind is None or not front.ownership.enforced:  # whoever looks at it later is not known here
                await _passed_on(asking, send)
                accounts.settle(call, status.COMPLETED, None)
                return
            answer, body = await owned.made(front, asking, kind, call.id)
        except ApiError as error:
            accounts.settle(call, status.FAILED, _used_before(error))
            raise
    await relay.whole(send, answer, body)


def _used_before(error: ApiError) -> Usage | None:
    """What a call has used that ended so: nothing when it was refused; else nobody knows."""
    return NOTHING if isinstance(error, Refusal) or error.status < 500 else None


def _call(asking: Asking) -> Call:
    account, call, method = asking.account, asking.call, _method(asking.call)
    most_output = [] if method in EMBEDS else jobs.most_output(asking.fields)
    return Call(
        id=ids.new_id("call"),
        project_id=account.caller.project_id,
        key_id=account.caller.key_id,
        kind=method,
        upstream=account.forwarder.name,
        credential=account.credential.fingerprint or None,
        size=Size(call.model or call.own, len(asking.body or b""), most_output),
    )


def _method(call: resources.Call) -> str:
    return call.target.rpartition(":")[2]


async def _passed_on(asking: Asking, send: Send) -> None:
    async with asking.send(asking.body) as answer:
        await relay.pass_on(send, answer)
