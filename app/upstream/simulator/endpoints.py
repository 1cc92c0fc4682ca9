"""The interactions resource of the server."""

from collections.abc import AsyncIterator, Awaitable, Callable

import orjson
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from app import ids
from app.core import status
from app.core.model import Json
from app.errors import FailedPrecondition, InvalidRequest
from app.upstream.simulator import body, model, playback
from app.upstream.simulator.memory import Memory
from app.upstream.simulator.model import Answer
from app.upstream.simulator.resource import Resource, resource_of
from app.upstream.simulator.responses import LateResponse, frames
from app.upstream.simulator.run import Run

Endpoint = Callable[[HttpRequest], Awaitable[Response]]

_EVENTS = "text/event-stream"
_JSON = "application/json"


class Interactions:
    """Create, get, delete and cancel, over the runs in a memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def routes(self, prefix: str, guarded: Callable[[Endpoint], Endpoint]) -> list[Route]:
        """The routes below this prefix, each behind a guard."""
        one = f"{prefix}/interactions/{{interaction_id}}"
        return [
            Route(f"{prefix}/interactions", guarded(self.create), methods=["POST"]),
            Route(one, guarded(self.get), methods=["GET"]),
            Route(one, guarded(self.delete), methods=["DELETE"]),
            Route(f"{one}/cancel", guarded(self.cancel), methods=["POST"]),
        ]

    async def create(self, http: HttpRequest) -> Response:
        """Answer a new interaction, at once, as a stream or in the background."""
        request = body.read(await http.body())
        history = self._history(request.previous_interaction_id)
        answer = model.answer(request, [*history, *request.input])
        resource = resource_of(request, ids.new_interaction_id() if request.store else "")
        run = Run(request, history, answer, resource) if request.store else None
        if not request.stream and not request.background:
            return LateResponse(self._unary(answer, resource, run), _JSON)
        if run is not None:
            self._memory.keep(run)
            run.start()
        if not request.stream:
            return _json(resource.answered(status.IN_PROGRESS))
        played = playback.play(answer, resource) if run is None else run.follow()
        return LateResponse(frames(playback.transmit(played, answer.directives)), _EVENTS)

    async def get(self, http: HttpRequest) -> Response:
        """Show an interaction, or follow it."""
        run = self._memory.find(http.path_params["interaction_id"])
        last_event_id = http.query_params.get("last_event_id")
        streamed = http.query_params.get("stream", "false")
        if streamed not in ("true", "false"):
            raise InvalidRequest("'stream' must be true or false.")
        if streamed == "true":
            place = 0 if last_event_id is None else run.after(last_event_id)
            return LateResponse(frames(run.follow(place)), _EVENTS)
        if last_event_id is not None:
            raise InvalidRequest("'last_event_id' needs 'stream=true'.")
        return _json(run.shown())

    async def delete(self, http: HttpRequest) -> Response:
        """Forget an interaction."""
        self._memory.forget(http.path_params["interaction_id"])
        return _json({})

    async def cancel(self, http: HttpRequest) -> Response:
        """Stop a run in the background."""
        run = self._memory.find(http.path_params["interaction_id"])
        if not run.background or run.status not in (status.IN_PROGRESS, status.CANCELLED):
            raise FailedPrecondition("Only a running background interaction can be cancelled.")
        run.cancel()
        return _json(run.shown())

    def _history(self, parent_id: str | None) -> list[Json]:
        if parent_id is None:
            return []
        parent = self._memory.find(parent_id)
        if refusal := status.refusal_as_parent(parent.status):
            raise FailedPrecondition(f"The interaction {parent_id} {refusal}.")
        return parent.context()

    async def _unary(self, answer: Answer, resource: Resource, run: Run | None) -> AsyncIterator[bytes]:
        if await playback.deliver(answer):
            if run is not None:
                run.complete()
                self._memory.keep(run)
            yield orjson.dumps(resource.answered(answer.status, answer.usage, answer.steps))


def _json(shown: Json) -> Response:
    return Response(orjson.dumps(shown), headers={"content-type": _JSON})
