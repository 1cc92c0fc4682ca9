"""The door of the admin API: nobody gets past it without a token, and it says nothing to those."""

import contextlib
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth.addresses import Addresses, Networks
from app.auth.bearers import Bearer, Bearers
from app.core.audit import Actor
from app.errors import ApiError, NotFound, PermissionDenied, envelope

BEARER, ACTOR = "gateway.bearer", "gateway.actor"
"""Where the request's scope has who asks."""

_ALWAYS = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]


class Door:
    """Lets the bearers of valid tokens in, from some networks.

    Without any token in this gateway, there is no such path.
    """

    def __init__(self, app: ASGIApp, bearers: Bearers, addresses: Addresses, networks: Networks) -> None:
        self._app = app
        self._bearers = bearers
        self._addresses = addresses
        self._networks = networks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        address = self._addresses.client(scope["headers"], scope["client"])
        visit = scope.get("visit")
        try:
            bearer = await self._bearers.bearer(scope["headers"], address)
            self._check_network(address)
        except NotFound as error:
            await _answer(send, error, envelope(scope["path"], error.status, error.message), [])
            return
        except ApiError as error:
            await _answer(send, error, error.body(), _ALWAYS)
            return
        admitted = {**scope, BEARER: bearer, ACTOR: _actor(bearer, address, visit)}

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_ALWAYS]}
            await send(message)

        with contextlib.suppress(Exception):  # it has been answered and logged; the server need not know
            await self._app(admitted, receive, sending)

    def _check_network(self, address: str | None) -> None:
        if address not in self._networks:
            text = f"The admin API may not be used from {address or 'here'} (setting: admin_networks)."
            raise PermissionDenied(text)


def _actor(bearer: Bearer, address: str | None, visit: Any) -> Actor:
    """Who asks, with the id that the request has everywhere in this gateway."""
    return Actor("admin", bearer.name, address, getattr(visit, "request_id", None))


async def _answer(send: Send, error: ApiError, body: bytes, more: list[tuple[bytes, bytes]]) -> None:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in error.headers.items()]
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    length = (b"content-length", str(len(body)).encode())
    headers = [(b"content-type", b"application/json"), length, *headers, *more]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
