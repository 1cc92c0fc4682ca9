"""The simulator as a server: the API of a Gemini that is not there.

Any key will do, except that one beginning with `bad-` is unknown and one beginning with
`forbidden-` is not allowed.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from app.errors import ApiError, Unauthenticated
from app.upstream.simulator.collections import Collections
from app.upstream.simulator.endpoints import Endpoint, Interactions
from app.upstream.simulator.files import Files
from app.upstream.simulator.generation import Generation
from app.upstream.simulator.jobs import Jobs
from app.upstream.simulator.memory import Memory
from app.upstream.simulator.responses import failure, rpc_failure
from app.upstream.simulator.shelves import Shelves

_VERSIONS = ("v1", "v1beta", "v1alpha")
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
_NO_METHOD = b'{"error":{"code":404,"message":"Method not found.","status":"NOT_FOUND"}}'


def create_app(capacity: int = 10_000) -> Starlette:
    """The server; it remembers as many interactions, and other things, as `capacity` says."""
    memory, shelves = Memory(capacity), Shelves(capacity)
    interactions, files = Interactions(memory), Files(shelves)
    rest = (files, Generation(), Jobs(shelves, files), Collections(shelves))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncGenerator[None]:
        yield
        memory.close()

    routes: list[Route] = []
    for version in _VERSIONS:
        routes += interactions.routes(f"/{version}", partial(_guarded, failed=failure))
        for part in rest:
            routes += part.routes(f"/{version}", partial(_guarded, failed=rpc_failure))
    return Starlette(routes=[*routes, Route("/{path:path}", _no_method, methods=_METHODS)], lifespan=lifespan)


def _guarded(endpoint: Endpoint, failed: Callable[[ApiError], Response]) -> Endpoint:
    async def checked(request: Request) -> Response:
        try:
            _authenticate(request)
            return await endpoint(request)
        except ApiError as error:
            return failed(error)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody is left to read it

    return checked


def _authenticate(request: Request) -> None:
    if "upload_id" in request.query_params:
        return  # which is a key by itself
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    key = request.headers.get("x-goog-api-key") or request.query_params.get("key") or bearer
    if not key:
        raise Unauthenticated("The request has no API key.")
    if key.startswith("bad-"):
        raise Unauthenticated("The API key is not valid.")
    if key.startswith("forbidden-"):
        raise ApiError("The API key may not do this.", status=403, code="permission_denied")


async def _no_method(_request: Request) -> Response:
    """What Google's front end says of a path or a method that it does not know."""
    return Response(_NO_METHOD, 404, media_type="application/json")
