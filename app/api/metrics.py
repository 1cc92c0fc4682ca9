"""/metrics, and the count of visits: by templates of routes, never by paths."""

from collections.abc import Callable, Sequence
from functools import cached_property

from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from app.api.visits import Visit
from app.auth.addresses import Addresses
from app.auth.bearers import Bearers
from app.telemetry.observer import Observer

_TEXT = b"text/plain; version=0.0.4; charset=utf-8"
_NONE = "none"


class Counted:
    """Tells an observer how each visit was answered."""

    def __init__(self, routes: Sequence[BaseRoute], observer: Observer) -> None:
        self._routes = routes
        self._observer = observer

    @cached_property
    def _templates(self) -> dict[object, str]:
        """The template of each endpoint; made at the first request, when all routes are there."""
        found: dict[object, str] = {}
        for route in self._routes:
            if isinstance(route, Route):
                found[route.endpoint] = route.path
            elif isinstance(route, Mount):
                found[route.app] = route.path
        return found

    def __call__(self, scope: Scope, visit: Visit) -> None:
        """Count a visit that is over; unless it was answered, its client has left."""
        route = self._templates.get(scope.get("endpoint"), _NONE)
        self._observer.request(scope["method"], route, visit.status or 499)


class MetricsRoute:
    """The route: for the bearers of admin tokens, or open."""

    def __init__(self, text: Callable[[], bytes], bearers: Bearers | None, addresses: Addresses) -> None:
        self._text = text
        self._bearers = bearers
        self._addresses = addresses

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """What Prometheus reads. Raises ApiError when it may not."""
        if self._bearers is not None:
            address = self._addresses.client(scope["headers"], scope["client"])
            await self._bearers.bearer(scope["headers"], address)
        body = self._text()
        length = (b"content-length", str(len(body)).encode())
        headers = [(b"content-type", _TEXT), length, (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
