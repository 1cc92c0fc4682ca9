"""Exceptions become answers here, and only here."""

import secrets
from collections.abc import Awaitable, Callable

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from app import log
from app.api import exchange, visits
from app.auth.caller import WrongNetwork
from app.errors import ApiError, envelope, is_interactions

Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


class Endpoint:
    """A handler as an ASGI application whose exceptions are answered in the API's envelope.

    `action` is what the audit log says that was done.
    """

    def __init__(self, handler: Handler, action: str | None) -> None:
        self._handler = handler
        self._action = action

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        visits.of(scope).action = self._action
        try:
            await self._handler(scope, receive, send)
        except ApiError as error:
            await _answer(scope, send, error)
            error.__traceback__ = None  # its frames hold the run, which holds the error
        except Exception:  # noqa: BLE001 - the last resort: no traceback reaches a client
            await _answer(scope, send, unforeseen(scope["path"]))


def install(app: FastAPI) -> None:
    """Answer what the router itself refuses: unknown paths and methods."""

    async def refused(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
        status = error.status_code
        message = {404: "Path not found.", 405: "Method not allowed."}.get(status, str(error.detail))
        code = "invalid_request" if status == 405 else None
        headers = {"allow": _allowed(app, request.scope)} if status == 405 else error.headers
        body = envelope(request.scope["path"], status, message, code)
        return Response(body, status, headers, "application/json")

    app.add_exception_handler(HTTPException, refused)


def _allowed(app: FastAPI, scope: Scope) -> str:
    """The methods of every route for this path; the router itself names those of the first."""
    fitting = [route for route in app.routes if isinstance(route, Route) and route.matches(scope)[0].value]
    return ", ".join(sorted({method for route in fitting for method in route.methods or ()}))


async def _answer(scope: Scope, send: Send, error: ApiError) -> None:
    visit = visits.of(scope)
    visit.code = error.code
    if isinstance(error, WrongNetwork):  # no handler has been told who asks
        visit.caller = error.caller
    body = error.body() if is_interactions(scope["path"]) else error.rpc()
    await exchange.answer(send, body, status=error.status, headers=error.headers)


def unforeseen(path: str) -> ApiError:
    """Log the exception being handled; the client gets a number to ask about."""
    incident = secrets.token_hex(6)
    facts = {"fields": {"path": path, "incident": incident}}
    log.logger().exception("a request failed in a way nobody foresaw", extra=facts)
    return ApiError(f"An internal error occurred. Incident {incident}.")
