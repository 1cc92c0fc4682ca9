"""POST /interactions: a request in, its answer or its events out. Reads like the architecture page."""

import asyncio
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from app import ids
from app.api import exchange, idempotency, visits
from app.api.permits import Permits
from app.api.visits import Visit
from app.auth import policing
from app.auth.caller import Authenticator, Caller
from app.auth.quota import Permit
from app.core import status
from app.core.model import Interaction, Request
from app.egress import Guard
from app.errors import ApiError, FailedPrecondition
from app.runs import lifecycle
from app.runs.admission import Admission, Slot
from app.runs.engine import Engine, Repeated
from app.runs.follow import Followers
from app.runs.retries import Asked, Retries
from app.runs.run import Run
from app.settings import Settings
from app.store.idempotency import Existing, Once
from app.store.interactions import Interactions
from app.wire import body as wire_body
from app.wire import dialect, webhooks
from app.wire.dialect import Dialect

_LEFT = ApiError("The client closed the connection.", status=499, code="cancelled")


@dataclass(frozen=True, slots=True)
class Client:
    """Who asked, in which dialect, and the way back."""

    caller: Caller
    spoken: Dialect
    receive: Receive
    send: Send
    visit: Visit


@dataclass(frozen=True, slots=True)
class CreateRoute:
    """The route, with everything it needs."""

    authenticator: Authenticator
    admission: Admission
    engine: Engine
    followers: Followers
    interactions: Interactions
    retries: Retries
    permits: Permits
    guard: Guard
    settings: Settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The answer, or its events while they happen."""
        caller = await self.authenticator.caller(scope["headers"], scope["query_string"], scope["client"])
        visit = visits.of(scope)
        visit.caller = caller
        _check_media(scope)
        with await self.admission.enter(caller.project_id) as slot:
            body = await exchange.read(receive)
            fields = wire_body.parse(body, self.settings.limits.json_depth)
            spoken = dialect.of(scope["headers"], self.settings.default_revision)
            client = Client(caller, spoken, receive, send, visit)
            request = policing.admit(caller, spoken.request(fields))
            webhooks.check(request, self.guard)
            asked = self._asked(scope, caller, body)
            once = _once(scope, asked)
            if once is None and (earlier := await self._earlier(asked)):
                slot.release()  # it executes nothing
                await self._tell_earlier(client, request, asked, earlier)
                return
            permit = await self.permits.of_run(caller, request, body)
            try:
                begun = await self._begin(caller, request, permit, slot, once)
            except Repeated as repeated:
                slot.release()
                await self._tell_repeated(client, request, asked, repeated.existing)
                return
        if isinstance(begun, Run):
            await self._follow(client, begun, asked)
        else:
            await self._tell_begun(client, request, begun)

    async def _begin(
        self, caller: Caller, request: Request, permit: Permit | None, slot: Slot, once: Once | None
    ) -> Run | Interaction:
        """What has begun: a run, to which the permit goes, or in the background an interaction."""
        begun: Run | Interaction
        try:
            if request.background:
                begun = await self.engine.begin(caller, request, once)
            else:
                begun = await self.engine.start(caller, request, slot, once)
        except BaseException:
            await self.permits.give_back(permit)
            raise
        run = begun if isinstance(begun, Run) else self.engine.executor.live.get(begun.id)
        self.permits.keep(permit, run)
        return begun

    def _asked(self, scope: Scope, caller: Caller, body: bytes) -> Asked:
        schema = dialect.choose(scope["headers"], self.settings.default_revision)
        return Asked(caller.project_id, caller.key_id, schema, idempotency.fingerprint(body))

    async def _tell_begun(self, client: Client, request: Request, begun: Interaction) -> None:
        """A background run: its id, or its events; it goes on without its client."""
        client.visit.target = begun.id
        if request.stream:
            await self._stream_stored(client, begun.id)
        else:
            await exchange.answer(client.send, client.spoken.interaction(begun, timeline=False))

    async def _follow(self, client: Client, run: Run, asked: Asked) -> None:
        """A foreground run. Left by its client it ends, if it is not stored, or may be asked for again."""
        client.visit.target = run.id
        stayed = False
        try:
            tell = self._stream if run.job.streamed else self._answer
            stayed = await tell(client, run)
        finally:
            if not stayed and run.stored:
                self.retries.left(asked, run.id, run.finished)
            elif not stayed:
                run.stop(status.CANCELLED, _LEFT)

    async def _answer(self, client: Client, run: Run) -> bool:
        """Wait for the end of the run and tell it; False when the client left first."""
        if not await exchange.unless_gone(client.receive, asyncio.shield(run.finished)):
            return False
        result, failed = run.finished.result(), lifecycle.failure(run)
        if failed is not None or result is None:
            raise failed or ApiError("The run ended without a result.")
        await exchange.answer(client.send, client.spoken.interaction(result, timeline=False))
        return True

    async def _stream(self, client: Client, run: Run) -> bool:
        """Relay the run's events; False when the client left first.

        What fails before the upstream has said anything is still answered with a status code, for
        which the headers wait a little.
        """
        if not run.heard and not run.finished.done():
            opening = asyncio.ensure_future(run.tail.change(self.settings.runs.open_wait))
            if not await exchange.unless_gone(client.receive, opening):
                return False
        failed = lifecycle.failure(run)
        if failed is not None and run.finished.done() and not run.heard:
            raise failed
        frames = client.spoken.stream(ids.START).frames(self.followers.run(run))
        return await exchange.stream(client.receive, client.send, frames)

    async def _tell_repeated(
        self, client: Client, request: Request, asked: Asked, existing: Existing
    ) -> None:
        """The answer to the same `Idempotency-Key`: what the first request was or will be answered."""
        client.visit.target = existing.interaction_id
        if existing.fingerprint != asked.fingerprint:
            raise idempotency.reused()
        found = await self.interactions.get(client.caller.project_id, existing.interaction_id)
        if found is None and await self.interactions.runs(asked.project_id, existing.interaction_id):
            raise idempotency.running()
        if found is None:
            text = "The answer for this 'Idempotency-Key' was not stored, or has been deleted."
            raise FailedPrecondition(text)
        if not status.is_terminal(found.status) and not request.background:
            raise idempotency.running()
        await self._tell_stored(client, request, found)

    async def _earlier(self, asked: Asked) -> Run | Interaction | None:
        """What an earlier copy of this request has begun, if its client has left, and it is there."""
        left = self.retries.again(asked)
        if left is None:
            return None
        return self.engine.executor.live.get(left) or await self.interactions.get(asked.project_id, left)

    async def _tell_earlier(
        self, client: Client, request: Request, asked: Asked, earlier: Run | Interaction
    ) -> None:
        client.visit.target = earlier.id
        if isinstance(earlier, Run):
            await self._follow(client, earlier, asked)
        else:
            await self._tell_stored(client, request, earlier)

    async def _tell_stored(self, client: Client, request: Request, found: Interaction) -> None:
        told = request.stream and found.last_seq != 1  # else it failed before it said anything
        if found.error is not None and not request.background and not told:
            raise lifecycle.stored_failure(found.error)
        if request.stream:
            await self._stream_stored(client, found.id)
        else:
            await exchange.answer(client.send, client.spoken.interaction(found, timeline=False))

    async def _stream_stored(self, client: Client, interaction_id: str) -> None:
        events = self.followers.stored(client.caller.project_id, interaction_id, 0)
        await exchange.stream(client.receive, client.send, client.spoken.stream(ids.START).frames(events))


def _once(scope: Scope, asked: Asked) -> Once | None:
    key = idempotency.key(scope["headers"])
    return Once(key, asked.fingerprint, idempotency.LIFETIME_MS) if key is not None else None


def _check_media(scope: Scope) -> None:
    for name, value in scope["headers"]:
        if name == b"content-type":
            kind, _, parameters = value.lower().partition(b";")
            charset = parameters.replace(b" ", b"").replace(b'"', b"")
            if kind.strip() != b"application/json" or charset not in (b"", b"charset=utf-8"):
                text = "The request body must be application/json in UTF-8."
                raise ApiError(text, status=415, code="invalid_request")
        elif name == b"content-encoding" and value != b"identity":
            text = "Compressed request bodies are not supported."
            raise ApiError(text, status=415, code="invalid_request")
