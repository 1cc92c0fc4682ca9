"""`Idempotency-Key`: a client's own name for a POST that it may have to send again.

same key, same body, while it runs    409 aborted, come back in a second
same key, same body, after its end    the answer that is stored
same key, another body                422 invalid_request
"""

import hashlib
from collections.abc import Iterable

from app.errors import ApiError, InvalidRequest

LIFETIME_MS = 24 * 3_600_000
_LONGEST = 255


def key(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key in these headers, None without one. Raises InvalidRequest."""
    found = {value for name, value in headers if name == b"idempotency-key"}
    if not found:
        return None
    if len(found) > 1:
        raise InvalidRequest("Two different values of 'Idempotency-Key'.")
    text = found.pop().decode("latin-1")
    if not (0 < len(text) <= _LONGEST and text.isascii() and text.isprintable()):
        raise InvalidRequest(f"'Idempotency-Key' must be 1 to {_LONGEST} printable ASCII characters.")
    return text


def fingerprint(body: bytes) -> bytes:
    """What tells one request body from another: the SHA-256 of its bytes.

    Of the bytes as they came, not of what they mean: whoever sends a request again sends the same
    bytes, and nobody has to decide which differences in JSON (order, repeated names, 1 and 1.0) are
    none. A request that is wrongly taken for another one is told so; the reverse would be an answer
    to a question that was not asked.
    """
    return hashlib.sha256(body).digest()


def reused() -> ApiError:
    """The refusal of a key that stands for another request."""
    text = "This 'Idempotency-Key' was used with another request body; use a new key for a new request."
    return ApiError(text, status=422, code="invalid_request")


def running() -> ApiError:
    """The refusal of a request whose first copy is still being answered. SDKs come back by themselves."""
    text = "The request with this 'Idempotency-Key' is still running; try again for its answer."
    return ApiError(text, status=409, code="aborted", headers={"retry-after": "1"})
