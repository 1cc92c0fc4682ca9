"""Who asks for what is not the API itself: admin calls and metrics, by bearer token.

A token is what was created, or the one of the environment, which is its owner. Whoever guesses is
slowed down, by address; a token that has just been accepted is not held up by others' guesses.
"""

import hmac
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from app.auth import keys
from app.core.versions import Versions
from app.errors import ApiError, NotFound, Unauthenticated
from app.store.tokens import Token

PREFIX = "igt_"
OWNER = "owner"
_ENVIRONMENT = "environment"
_LONGEST = 512
_GUESSES, _SECONDS_EACH = 20.0, 3.0
"""How many wrong tokens an address may present at once, and how long one more takes after that."""
_ADDRESSES, _CACHED = 10_000, 1000


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whose token it is, and which role it has."""

    name: str
    role: str


def new_token() -> str:
    """A fresh token: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(pepper: bytes, token: str) -> bytes:
    """What is stored instead of the token."""
    return keys.digest(pepper, named(token))


def named(token: str) -> str:
    """The token as it is digested."""
    # The U+0000 keeps it apart from the digests of keys, which have none in them.
    return f"token\0{token}"


class Bearers:
    """Finds the bearer of a token; remembers it for a few seconds."""

    def __init__(
        self,
        peppers: Versions[bytes],
        environment: str | None,
        lookup: Callable[[Versions[bytes]], Awaitable[Token | None]],
        exist: Callable[[], Awaitable[bool]],
        cache_seconds: float,
    ) -> None:
        self._peppers = peppers
        self._environment = digest(peppers.current, environment) if environment is not None else None
        self._lookup = lookup
        self._exist = exist
        self._ttl = cache_seconds
        self._known: OrderedDict[bytes, tuple[float, Bearer]] = OrderedDict()
        self._guesses = _Guesses()
        self._looked, self._some = -math.inf, False

    async def bearer(self, headers: Sequence[tuple[bytes, bytes]], address: str | None) -> Bearer:
        """The bearer, by `Authorization: Bearer`.

        Raises NotFound where there is no token at all that could be right, Unauthenticated for a
        wrong one or none, and ApiError (429) for too many wrong ones.
        """
        if not await self._enabled():
            raise NotFound("Path not found.")
        token = _presented(headers)
        if token is None:
            raise Unauthenticated("No token. Pass it as 'Authorization: Bearer ...'.")
        hashed = self._peppers.map(lambda pepper: digest(pepper, token))
        if (known := self._known.get(hashed.current)) and known[0] >= time.monotonic():
            return known[1]
        self._guesses.take(address or "")
        found = await self._found(hashed)
        if found is None:
            raise Unauthenticated("The token is not valid.")
        self._guesses.give_back(address or "")
        self._known[hashed.current] = time.monotonic() + self._ttl, found
        if len(self._known) > _CACHED:
            self._known.popitem(last=False)
        return found

    async def _enabled(self) -> bool:
        """Whether anybody has a token; asked again every few seconds, while nobody has."""
        if self._environment is not None:
            return True
        if time.monotonic() - self._looked > max(self._ttl, 1.0):
            self._some = await self._exist()
            self._looked = time.monotonic()
        return self._some

    async def _found(self, hashed: Versions[bytes]) -> Bearer | None:
        if self._environment is not None and hmac.compare_digest(hashed.current, self._environment):
            return Bearer(_ENVIRONMENT, OWNER)
        token = await self._lookup(hashed)
        return Bearer(token.name, token.role) if token is not None else None


class _Guesses:
    """Wrong tokens by address: some at once, then one every few seconds."""

    def __init__(self) -> None:
        self._full: OrderedDict[str, float] = OrderedDict()
        """For each address, when its guesses will all have been forgotten."""

    def take(self, address: str) -> None:
        """Count a token that may be wrong. Raises ApiError (429) when this address has guessed too often."""
        now = time.monotonic()
        full = max(self._full.get(address, 0.0), now) + _SECONDS_EACH
        if (over := full - now - _GUESSES * _SECONDS_EACH) > 0:
            text = "Too many wrong tokens from this address; try again later."
            headers = {"retry-after": str(math.ceil(over))}
            raise ApiError(text, status=429, code="rate_limit_exceeded", headers=headers)
        self._full[address] = full
        self._full.move_to_end(address)
        if len(self._full) > _ADDRESSES:
            self._full.popitem(last=False)

    def give_back(self, address: str) -> None:
        """It was right."""
        if address in self._full:
            self._full[address] -= _SECONDS_EACH


def _presented(headers: Sequence[tuple[bytes, bytes]]) -> str | None:
    """The one token in the request. Raises Unauthenticated."""
    given = [value for name, value in headers if name == b"authorization"]
    scheme, _, token = given[0].partition(b" ") if given else (b"", b"", b"")
    if scheme.lower() != b"bearer" or not token.strip():
        return None
    text = token.strip().decode("latin-1")
    if len(given) > 1 or len(text) > _LONGEST or not (text.isascii() and text.isprintable()):
        raise Unauthenticated("The token is not valid.")
    return text
