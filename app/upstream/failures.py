"""What goes wrong upstream, as what our client is told.

    4xx, 5xx         the upstream's own status, code and message
    401, 403         502: it is our credential that was refused, unless the caller has lent one;
                     so is a 400 that says so
    3xx              502: redirects are never followed
    no answer        503: refused, unresolved or TLS; 504 when it took too long
    half an answer   502

Messages pass a scrubber, and name an upstream by its alias only.
"""

import re
from collections.abc import Iterable, Mapping

import aiohttp
import orjson

from app.errors import ApiError, code_of, status_of

READ_AT_MOST = 64 * 1024
_MESSAGE = 2000
_RETRY_HEADERS = ("retry-after", "retry-after-ms")
_RETRY = re.compile(r"[A-Za-z0-9 ,:.+-]{1,64}")
_KEY_REASONS = ("API_KEY_INVALID", "API_KEY_SERVICE_BLOCKED", "CONSUMER_SUSPENDED", "SERVICE_DISABLED")
_KEY_MESSAGES = ("API key not valid", "API key expired", "API Key not found")
_KEYS = re.compile(
    r"AIza[0-9A-Za-z_-]{20,}|igw_[0-9A-Za-z]{20,}|(?i:bearer\s+)[^\s\"']{8,}|(?<=key=)[^&\s\"']+"
)


class Refusal(ApiError):
    """An upstream said no, with this status, or could not be reached at all (`said` is None)."""

    def __init__(
        self,
        error: ApiError,
        said: int | None,
        *,
        key_refused: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(error.message, status=error.status, code=error.code, headers=error.headers)
        self.said = said
        self.key_refused = key_refused
        self.retry_after = retry_after

    @property
    def elsewhere(self) -> bool:
        """Whether the same may be asked with another key: nothing has been done, and it may help."""
        return not self.key_refused and (self.said is None or self.said == 429 or self.said >= 500)


class Failures:
    """Makes the errors of one upstream; knows which strings must never be repeated.

    `lent` tells that the credential is the caller's own, and so is its refusal.
    """

    def __init__(self, name: str, secrets: Iterable[str], *, lent: bool = False) -> None:
        self._name = name
        self._secrets = [secret for secret in secrets if secret]
        self._lent = lent

    def answered(self, status: int, body: bytes, headers: Mapping[str, str]) -> ApiError:
        """The upstream answered with an error status; `body` is as much of it as was read."""
        if status < 400 or status > 599:
            return self._bad_gateway(f"answered with HTTP {status}, which is not an answer.")
        kept = {name: headers[name] for name in _RETRY_HEADERS if _RETRY.fullmatch(headers.get(name, ""))}
        said = error_of(body)
        return Refusal(
            self._refused(status, said, kept),
            status,
            key_refused=self._refuses_key(status, said),
            retry_after=_seconds(headers),
        )

    def reported(self, said: object) -> Refusal:
        """The upstream ended its stream with an `error` event that says this."""
        fields = said if isinstance(said, dict) else {}
        code = fields.get("code") or fields.get("status")
        named = status_of(_snake(str(code).upper()) or "")
        status = code if isinstance(code, int) and 400 <= code <= 599 else named
        return Refusal(
            self._refused(status, fields, {}), status, key_refused=self._refuses_key(status, fields)
        )

    def _refused(self, status: int, said: Mapping[str, object], headers: Mapping[str, str]) -> ApiError:
        if self._refuses_key(status, said):
            return self._bad_gateway(f"refused the gateway's credential (HTTP {status}).")
        code, message = said.get("code"), said.get("message")
        if not isinstance(code, str) or not code:
            code = _snake(said.get("status")) or code_of(status)
        if not isinstance(message, str) or not message:
            message = f"The upstream '{self._name}' answered with HTTP {status}."
        return ApiError(self.scrub(message), status=status, code=self.scrub(code)[:100], headers=headers)

    def _refuses_key(self, status: int, said: Mapping[str, object]) -> bool:
        """Whether it is our key that was refused; a lent one is its owner's business."""
        return not self._lent and (status in (401, 403) or blames_key(said))

    def unreachable(self, error: Exception) -> ApiError:
        """No answer, or none to the end."""
        if isinstance(error, TimeoutError):
            text = f"The upstream '{self._name}' did not answer in time."
            return ApiError(text, status=504, code="deadline_exceeded")
        if isinstance(error, aiohttp.ClientConnectorError):
            text = f"The upstream '{self._name}' cannot be reached."
            error = ApiError(text, status=503, code="service_unavailable", headers={"retry-after": "2"})
            return Refusal(error, None)
        return self._bad_gateway("broke off its answer.")

    def broken(self, problem: object) -> ApiError:
        """The upstream's answer makes no sense."""
        return self._bad_gateway(f"sent a broken answer: {self.scrub(str(problem))[:200]}")

    def scrub(self, text: str) -> str:
        """The text without anything that is or looks like a key, and not too long."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return _KEYS.sub("***", text)[:_MESSAGE]

    def _bad_gateway(self, what: str) -> ApiError:
        return ApiError(f"The upstream '{self._name}' {what}", status=502, code="bad_gateway")


def blames_key(said: Mapping[str, object]) -> bool:
    """Whether this error is about the API key: Gemini also says so with a 400."""
    details = said.get("details")
    reasons = (
        [item.get("reason") for item in details if isinstance(item, dict)]
        if isinstance(details, list)
        else []
    )
    return any(reason in _KEY_REASONS for reason in reasons) or str(said.get("message")).startswith(
        _KEY_MESSAGES
    )


def error_of(body: bytes) -> dict[str, object]:
    """The error object in an upstream's answer: either envelope, or wrapped in an array."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if isinstance(found, list) and found:
        found = found[0]
    inner = found.get("error") if isinstance(found, dict) else None
    return inner if isinstance(inner, dict) else {}


def _seconds(headers: Mapping[str, str]) -> float | None:
    """How long the upstream wants to be left alone, where it says so in plain seconds."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
            return float(value) * unit
    return None


def _snake(status: object) -> str | None:
    """INVALID_ARGUMENT, as google.rpc has it, in the words of the Interactions API."""
    if not isinstance(status, str) or not status:
        return None
    known = {
        "INVALID_ARGUMENT": "invalid_request",
        "RESOURCE_EXHAUSTED": "rate_limit_exceeded",
        "UNAVAILABLE": "service_unavailable",
        "INTERNAL": "api_error",
    }
    return known.get(status, status.lower())
