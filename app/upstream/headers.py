"""Which headers pass, in either direction.

Everything else stays here: credentials, cookies, what names hosts, what belongs to one connection.
"""

from collections.abc import Iterable

ASKED = frozenset(
    {
        b"accept",
        b"content-type",
        b"range",
        b"x-goog-upload-command",
        b"x-goog-upload-file-name",
        b"x-goog-upload-header-content-length",
        b"x-goog-upload-header-content-type",
        b"x-goog-upload-offset",
        b"x-goog-upload-protocol",
        b"x-server-timeout",
    }
)
ANSWERED = frozenset(
    {
        b"accept-ranges",
        b"cache-control",
        b"content-disposition",
        b"content-encoding",
        b"content-length",
        b"content-range",
        b"content-type",
        b"etag",
        b"last-modified",
        b"retry-after",
        b"retry-after-ms",
        b"x-gemini-service-tier",
        b"x-goog-upload-chunk-granularity",
        b"x-goog-upload-size-received",
        b"x-goog-upload-status",
    }
)
_FORM = frozenset({b"accept", b"range"})
UPLOAD_URLS = (b"x-goog-upload-url", b"x-goog-upload-control-url")
"""What an upstream says where an upload goes on; clients get ours instead."""

# What was uploaded may be a page with scripts; opened at this address, they must not run.
_INERT = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"sandbox; default-src 'none'"),
)

Headers = list[tuple[bytes, bytes]]


def asked(headers: Iterable[tuple[bytes, bytes]], *, told: bool = False) -> Headers:
    """What of a client's headers goes upstream; of an answer that is looked into the form is ours."""
    return [(name, value) for name, value in headers if name in ASKED and not (told and name in _FORM)]


def answered(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """What of an upstream's headers goes to the client."""
    return [*((name, value) for name, value in headers if name in ANSWERED), *_INERT]
