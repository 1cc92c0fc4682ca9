"""What every handler of the admin API has: the right that it asks for, and the gateway to work on."""

import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from app import log
from app.admin import roles
from app.admin.api.door import ACTOR, BEARER
from app.admin.operations import Absent, OperationError
from app.admin.roles import Right
from app.core.audit import Actor
from app.errors import ApiError, code_of
from app.settings import Settings
from app.store.database import Database
from app.upstream.credentials import Credentials


@dataclass(frozen=True, slots=True)
class Gateway:
    """What operations work on; the upstreams' keys are those of this process."""

    settings: Settings
    database: Database
    pools: Mapping[str, Credentials]


class Input(BaseModel):
    """What comes in: these fields, and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Output(BaseModel):
    """What goes out: these fields, whatever else the operation knows."""

    model_config = ConfigDict(from_attributes=True)


class Reason(BaseModel):
    """Why: a word for programs, a sentence for people."""

    code: str
    message: str


class Refusal(BaseModel):
    """The answer to what is not done."""

    error: Reason


REFUSALS = (
    ("4XX", "What is wrong with the request."),
    ("5XX", "It cannot be done now; `retry-after` says when to try again."),
)
"""What the document says of answers that are no answers."""


class Requires(HTTPBearer):
    """A right that a handler asks for; gives it the actor. Raises PermissionDenied."""

    def __init__(self, right: Right) -> None:
        super().__init__(scheme_name="token", auto_error=False)
        self.right = right

    async def __call__(self, request: Request) -> Actor:  # type: ignore[override]
        """Who asks, if that one may."""
        roles.require(request.scope[BEARER], self.right)
        actor: Actor = request.scope[ACTOR]
        return actor


Reader = Annotated[Actor, Depends(Requires(Right.METADATA))]
ContentReader = Annotated[Actor, Depends(Requires(Right.CONTENT))]
Auditor = Annotated[Actor, Depends(Requires(Right.AUDIT))]
Operator = Annotated[Actor, Depends(Requires(Right.CHANGE))]
KeyMaker = Annotated[Actor, Depends(Requires(Right.KEYS))]
Owner = Annotated[Actor, Depends(Requires(Right.TOKENS))]


def install_errors(app: FastAPI) -> None:
    """Tell every error in the envelope of the API; none repeats what came in."""
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(OperationError, _operation)
    app.add_exception_handler(RequestValidationError, _unfit)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _unforeseen)


async def _api_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - registered for nothing else, and so on below
    return Response(error.body(), error.status, error.headers, "application/json")


async def _operation(request: Request, error: Exception) -> Response:
    absent = isinstance(error, Absent)
    told = ApiError(
        str(error), status=404 if absent else 400, code="not_found" if absent else "invalid_request"
    )
    return await _api_error(request, told)


async def _unfit(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    lines = [f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()]
    return await _api_error(request, ApiError("; ".join(lines)[:2000], status=400, code="invalid_request"))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    status = error.status_code
    text = {404: "Path not found.", 405: "Method not allowed."}.get(status, "The request cannot be read.")
    code = "invalid_request" if status == 405 else code_of(status)
    return await _api_error(request, ApiError(text, status=status, code=code, headers=error.headers))


async def _unforeseen(request: Request, error: Exception) -> Response:
    incident = secrets.token_hex(6)
    facts = {"fields": {"path": request.scope["path"], "incident": incident}}
    log.logger().log(
        logging.ERROR, "an admin request failed in a way nobody foresaw", extra=facts, exc_info=error
    )
    return await _api_error(request, ApiError(f"An internal error occurred. Incident {incident}."))
