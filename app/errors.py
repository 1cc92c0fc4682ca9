"""Errors as a client sees them: an HTTP status, a code and a message.

    ApiError
      InvalidRequest        400 invalid_request       the request is wrong; names the field
      ParameterUnknown      400 parameter_unknown     a field the chosen upstream cannot carry
      FailedPrecondition    400 failed_precondition   the request is right, its time is not
      Unauthenticated       401 authentication
      PermissionDenied      403 permission_denied     a policy forbids it; names the rule
      NotFound              404 not_found             absent, foreign, expired and deleted alike
      Unavailable           503 service_unavailable   an outage here; says when to come back

Codes and envelope: Gemini API, "API errors". SDKs silently retry 409 and every 5xx, so a refusal
is always a 400 or a 404.
"""

import http
from collections.abc import Mapping

import orjson


class ApiError(Exception):
    """Something a client is told: any status and code of the API's own table."""

    status = 500
    code = "api_error"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status or self.status
        self.code = code or self.code
        self.headers = dict(headers or {})

    def body(self) -> bytes:
        """The error envelope of the Interactions API."""
        return orjson.dumps({"error": {"code": self.code, "message": self.message}})

    @property
    def rpc_status(self) -> str:
        """The name that google.rpc has for the status."""
        return _RPC.get(self.status, "UNKNOWN")

    def rpc(self) -> bytes:
        """The error envelope of the rest of the API, google.rpc."""
        fields = {"code": self.status, "message": self.message, "status": self.rpc_status}
        return orjson.dumps({"error": fields})


class InvalidRequest(ApiError):
    """The request is wrong; the message names the field."""

    status, code = 400, "invalid_request"


class ParameterUnknown(ApiError):
    """A field that the chosen upstream cannot carry."""

    status, code = 400, "parameter_unknown"


class FailedPrecondition(ApiError):
    """The request is right, but not for something in this state."""

    status, code = 400, "failed_precondition"


class Unauthenticated(ApiError):
    """No valid key."""

    status, code = 401, "authentication"


class PermissionDenied(ApiError):
    """A policy forbids it, whatever else stands in the request; the message names the rule."""

    status, code = 403, "permission_denied"


class NotFound(ApiError):
    """Absent, foreign, expired or deleted: one answer for all four."""

    status, code = 404, "not_found"


class Unavailable(ApiError):
    """An outage on our side; the client is told when to come back."""

    status, code = 503, "service_unavailable"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message, headers={"retry-after": str(retry_after)})


_CODES = {
    400: "invalid_request",
    401: "authentication",
    402: "payment_required",
    403: "permission_denied",
    404: "not_found",
    409: "aborted",
    416: "out_of_range",
    429: "rate_limit_exceeded",
    499: "cancelled",
    500: "api_error",
    501: "unimplemented",
    503: "service_unavailable",
    504: "deadline_exceeded",
}


def code_of(status: int) -> str:
    """The API's code for a bare HTTP status: its table, else the status name in snake case."""
    if status in _CODES:
        return _CODES[status]
    try:
        return http.HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")
    except ValueError:
        return "api_error"


def status_of(code: str) -> int:
    """The HTTP status that goes with a code; 500 for a code without one."""
    others = {"failed_precondition": 400, "gateway_timeout": 504, "bad_gateway": 502, "quota_exceeded": 429}
    return next((status for status, known in _CODES.items() if known == code), others.get(code, 500))


_RPC = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    409: "ALREADY_EXISTS",
    416: "OUT_OF_RANGE",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def envelope(path: str, status: int, message: str, code: str | None = None) -> bytes:
    """The body of an error on this path: the API's own envelope on /interactions, else google.rpc."""
    error = ApiError(message, status=status, code=code or code_of(status))
    return error.body() if is_interactions(path) else error.rpc()


def is_interactions(path: str) -> bool:
    """Whether this is a path of the Interactions API, whose errors have their own envelope."""
    return path.partition("/interactions")[0].lstrip("/") in ("v1", "v1beta", "v1alpha")
