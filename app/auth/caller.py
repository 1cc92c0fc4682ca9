"""The caller of a request, by the key it carries."""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl

from app.auth import keys
from app.auth.addresses import Addresses, Peer
from app.core import policy as policies
from app.core.policy import FREE, Forbidden, Policy
from app.core.versions import Versions
from app.errors import PermissionDenied, Unauthenticated
from app.store.holders import Holder

_CACHED = 10_000
_LONGEST_KEY = 4096

INVALID = "API key not valid. Please pass a valid API key."
"""What is told of every key that is not valid, for whatever reason."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and from where. `credential` is the caller's own upstream key, in passthrough mode only.

    `policy` is what counts: the project's and the key's own together. What is counted for all keys
    of the project, and for this one, is in the other two.
    """

    project_id: str
    key_id: str | None
    retention_days: int | None
    credential: str | None = None
    address: str | None = None
    key_name: str | None = None
    policy: Policy = FREE
    project_policy: Policy = FREE
    key_policy: Policy = FREE


class WrongNetwork(PermissionDenied):
    """The key is valid, but not from where the request comes; `caller` is whose key it is."""

    def __init__(self, message: str, caller: Caller) -> None:
        super().__init__(message)
        self.caller = caller


class Authenticator:
    """Finds the caller of a request; remembers the answer for a few seconds, or until told to forget."""

    def __init__(
        self,
        peppers: Versions[bytes],
        lookup: Callable[[Versions[bytes]], Awaitable[Holder | None]],
        *,
        passthrough: bool,
        cache_seconds: float,
        addresses: Addresses | None = None,
    ) -> None:
        self._peppers = peppers
        self._lookup = lookup
        self._passthrough = passthrough
        self._ttl = cache_seconds
        self._addresses = addresses or Addresses()
        self._cache: OrderedDict[bytes, _Known] = OrderedDict()
        self._forgotten = 0

    async def caller(
        self, headers: Sequence[tuple[bytes, bytes]], query: bytes, peer: Peer | None = None
    ) -> Caller:
        """The caller, by `x-goog-api-key`, `Authorization: Bearer` or `?key=`.

        Raises Unauthenticated when there is no key, an invalid one, or two different ones: one
        answer for a key that is unknown, revoked or expired. Raises WrongNetwork when the key may
        not be used from where the request comes.
        """
        key = _presented(headers, query)
        if not (self._passthrough or keys.is_key(key)):
            raise Unauthenticated(INVALID)
        digest = keys.digest(self._peppers.current, key)
        known = self._remembered(digest) or await self._found(digest, key)
        holder, policy = known.holder, known.policy
        caller = Caller(
            holder.project_id,
            holder.key_id,
            holder.retention_days,
            key if self._passthrough else None,
            self._addresses.client(headers, peer),
            holder.key_name,
            policy,
            holder.project_policy,
            holder.key_policy,
        )
        if policy.networks:
            _check_network(caller)
        return caller

    def forget(self) -> None:
        """Ask again for every key: some have been revoked, or policies have changed."""
        self._cache.clear()
        self._forgotten += 1

    def _remembered(self, digest: bytes) -> "_Known | None":
        known = self._cache.get(digest)
        return known if known is not None and known.until >= time.monotonic() else None

    async def _found(self, digest: bytes, key: str) -> "_Known":
        before = self._forgotten
        holder = await self._lookup(self._peppers.map(lambda pepper: keys.digest(pepper, key)))
        if holder is None:
            raise Unauthenticated(INVALID)
        policy = policies.combine(holder.project_policy, holder.key_policy)
        known = _Known(time.monotonic() + self._ttl, holder, policy)
        if self._forgotten == before:  # else it may be of before the change
            self._remember(digest, known)
        return known

    def _remember(self, digest: bytes, known: "_Known") -> None:
        self._cache[digest] = known
        self._cache.move_to_end(digest)
        if len(self._cache) > _CACHED:
            self._cache.popitem(last=False)


class _Known(NamedTuple):
    until: float
    holder: Holder
    policy: Policy


def _check_network(caller: Caller) -> None:
    try:
        policies.check_network(caller.policy, caller.address)
    except Forbidden as refused:
        raise WrongNetwork(str(refused), caller) from None


def _presented(headers: Sequence[tuple[bytes, bytes]], query: bytes) -> str:
    """The one key in the request, wherever it stands."""
    found = {value for name, value in headers if name == b"x-goog-api-key"}
    found.update(_bearer(value) for name, value in headers if name == b"authorization")
    if b"key=" in query:
        parameters = parse_qsl(query.decode("latin-1"))
        found.update(value.encode() for name, value in parameters if name == "key")
    found.discard(b"")
    if not found:
        raise Unauthenticated("No API key. Pass it in the x-goog-api-key header.")
    if len(found) > 1:
        raise Unauthenticated("Two different API keys in one request.")
    key = found.pop().decode("latin-1")
    if len(key) > _LONGEST_KEY or not (key.isascii() and key.isprintable()):
        raise Unauthenticated(INVALID)
    return key


def _bearer(authorization: bytes) -> bytes:
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""
