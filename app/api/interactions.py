"""/interactions/{id}: get, delete, cancel; and the routes of the whole resource."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qsl

from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from app import ids
from app.api import exchange, visits
from app.api.creating import CreateRoute
from app.api.errors import Endpoint
from app.auth.caller import Authenticator, Caller
from app.core import status
from app.core.model import Interaction
from app.errors import FailedPrecondition, InvalidRequest, NotFound
from app.runs.engine import Engine
from app.runs.follow import Followers
from app.settings import Settings
from app.store.interactions import Held, Interactions
from app.wire import dialect
from app.wire.dialect import Dialect

_VERSIONS = ("v1beta", "v1", "v1alpha")


@dataclass(frozen=True, slots=True)
class InteractionRoutes:
    """The routes, with everything they need."""

    authenticator: Authenticator
    creating: CreateRoute
    engine: Engine
    followers: Followers
    interactions: Interactions
    settings: Settings

    def routes(self) -> list[BaseRoute]:
        """The same four under every version of the path."""
        return [
            Route(
                f"/{version}/interactions{path}",
                Endpoint(handler, f"interaction.{action}"),
                methods=[method],
            )
            for version in _VERSIONS
            for path, method, action, handler in (
                ("", "POST", "create", self.creating),
                ("/{id}", "GET", "get", self.get),
                ("/{id}", "DELETE", "delete", self.delete),
                ("/{id}/cancel", "POST", "cancel", self.cancel),
            )
        ]

    async def get(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET /interactions/{id}: the resource, or its events, all or those after `last_event_id`."""
        caller = await self._caller(scope)
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        wanted, include_input = _flag(query, "stream"), _flag(query, "include_input")
        last_event_id = query.get("last_event_id")
        if last_event_id is not None and not wanted:
            raise InvalidRequest("'last_event_id' needs 'stream=true'.")
        spoken = self._dialect(scope)
        if wanted:
            visits.of(scope).action = "interaction." + ("stream" if last_event_id is None else "resume")
            frames = await self._events(caller, scope, spoken, last_event_id)
            await exchange.read(receive)
            await exchange.stream(receive, send, frames)
        else:
            found = await self._found(caller, scope)
            await exchange.answer(send, spoken.interaction(found, timeline=True, include_input=include_input))

    async def delete(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """DELETE /interactions/{id}: erased at once, and stopped if it runs."""
        caller = await self._caller(scope)
        interaction_id = _id(scope)
        try:
            deleted = await self.interactions.delete(caller.project_id, interaction_id)
        except Held:
            raise FailedPrecondition(
                f"The interaction is held and cannot be deleted: {interaction_id}"
            ) from None
        if not deleted:
            raise _not_found(interaction_id)
        self.engine.gone(interaction_id)
        await exchange.answer(send, b"{}")

    async def cancel(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """POST /interactions/{id}/cancel: for running background interactions only."""
        caller = await self._caller(scope)
        found = await self._found(caller, scope)
        if found.background and not status.is_terminal(found.status):
            await self.engine.cancel(caller.project_id, found.id)
            found = await self._found(caller, scope)
        if found.status != status.CANCELLED:
            what = f"is {found.status}" if status.is_terminal(found.status) else "runs in the foreground"
            text = f"Only running background interactions can be cancelled; {found.id} {what}."
            raise FailedPrecondition(text)
        await exchange.answer(send, self._dialect(scope).interaction(found, timeline=True))

    async def _caller(self, scope: Scope) -> Caller:
        caller = await self.authenticator.caller(scope["headers"], scope["query_string"], scope["client"])
        visits.of(scope).caller = caller
        return caller

    def _dialect(self, scope: Scope) -> Dialect:
        return dialect.of(scope["headers"], self.settings.default_revision)

    async def _found(self, caller: Caller, scope: Scope) -> Interaction:
        interaction_id = _id(scope)
        found = await self.interactions.get(caller.project_id, interaction_id)
        if found is None:
            raise _not_found(interaction_id)
        return found

    async def _events(
        self, caller: Caller, scope: Scope, spoken: Dialect, last_event_id: str | None
    ) -> AsyncIterator[bytes]:
        """An interaction's events from a place on. Nothing of it is held while they are sent."""
        interaction_id = _id(scope)
        place = await self.followers.place(caller.project_id, interaction_id, last_event_id)
        if place is None:
            raise _not_found(interaction_id)
        shown = spoken.stream(place)
        return shown.frames(self.followers.stored(caller.project_id, interaction_id, shown.after))


def _id(scope: Scope) -> str:
    interaction_id = str(scope["path_params"]["id"])
    if not ids.is_interaction_id(interaction_id):
        raise InvalidRequest(f"Invalid interaction name: interactions/{interaction_id[:80]}")
    visits.of(scope).target = interaction_id
    return interaction_id


def _not_found(interaction_id: str) -> NotFound:
    return NotFound(f"Interaction not found: {interaction_id}")


def _flag(query: dict[str, str], name: str) -> bool:
    value = query.get(name, "false").lower()
    if value not in ("true", "false"):
        raise InvalidRequest(f"'{name}' must be true or false.")
    return value == "true"
