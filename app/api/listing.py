"""GET /interactions: the caller's own interactions, an extension that the public API lacks."""

from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from app.api import exchange, visits
from app.api.errors import Endpoint
from app.auth.caller import Authenticator
from app.store.listing import Listing
from app.wire import listing as wire_listing
from app.wire import steps as wire_steps


@dataclass(frozen=True, slots=True)
class ListingRoutes:
    """The route, with everything it needs."""

    authenticator: Authenticator
    listing: Listing

    def routes(self) -> list[BaseRoute]:
        """The same one under every version of the path."""
        return [
            Route(f"/{version}/interactions", Endpoint(self.list, "interaction.list"), methods=["GET"])
            for version in ("v1beta", "v1", "v1alpha")
        ]

    async def list(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Newest first, a page at a time."""
        caller = await self.authenticator.caller(scope["headers"], scope["query_string"], scope["client"])
        visits.of(scope).caller = caller
        parameters = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        query = wire_listing.query(parameters)
        # One more than asked for tells whether there is another page.
        found = await self.listing.page(caller.project_id, replace(query, limit=query.limit + 1))
        shown = found[: query.limit]
        token = wire_listing.next_page_token(shown[-1], parameters) if len(found) > len(shown) else None
        await exchange.answer(send, wire_listing.answer([wire_steps.summary(item) for item in shown], token))
