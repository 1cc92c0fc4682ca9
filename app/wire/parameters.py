"""Query parameters of forwarded requests: read once, and written anew for the upstream.

`key` stays here. Refused by name: what would speak for somebody else, or turn the request into
another one; and, where the gateway has to read the answer, what would change its form.
"""

from collections.abc import Sequence
from urllib.parse import parse_qsl, quote, urlencode

from app.errors import InvalidRequest

Parameters = Sequence[tuple[str, str]]

_KEY = "key"
_REFUSED = frozenset(
    {
        "access_token",
        "bearer_token",
        "callback",
        "oauth_token",
        "quotaUser",
        "upload_id",
        "upload_protocol",
        "userIp",
    }
)


def read(query: bytes, *, told: bool) -> Parameters:
    """The parameters in this query. Raises InvalidRequest, naming the one that is refused.

    `told` means that the gateway looks into the answer before it passes it on.
    """
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=100)
    except ValueError:
        raise InvalidRequest("The query cannot be read.") from None
    kept = [(name, value) for name, value in pairs if name != _KEY]
    for name, value in kept:
        if name in _REFUSED or name.startswith("$"):
            raise InvalidRequest(f"The parameter '{name[:60]}' is not supported.")
        if told and (name == "fields" or (name == "alt" and value != "json")):
            raise InvalidRequest(f"The parameter '{name}' is not supported here.")
        if name == "uploadType" and value == "resumable":
            raise InvalidRequest(
                "'uploadType=resumable' is not supported: use the header X-Goog-Upload-Protocol: resumable."
            )
    return kept


def write(parameters: Parameters) -> str:
    """The query with these parameters, encoded."""
    return urlencode(parameters, quote_via=quote)


def without_key(query: str) -> str:
    """An upstream's own query, without any key in it."""
    return write([(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name != _KEY])
