"""Egress: the one guard for connections to hosts that a request names.

    Guard.check   a URL, before it is kept: no name or address that cannot be public
    Poster        at the connection: every address behind the name is public, and exactly those are used

What is public is decided by what may be, not by what may not: of IPv6 only the global unicast space, and
none of the addresses that lead through a tunnel to another one. The operator's `egress.allow` adds
networks and names.
"""

import asyncio
import contextlib
import re
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from app.errors import InvalidRequest
from app.settings import Egress

Address = IPv4Address | IPv6Address
Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, as `lookup` finds them."""

_LONGEST_URL = 2048
_DISCARDED = 64 * 2**10
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL = ("localhost", "localdomain", "local", "internal", "home.arpa")

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_ISATAP = 0x5EFE
_SPECIAL = (
    IPv4Network("192.0.0.0/24"),  # protocol assignments
    IPv4Network("192.88.99.0/24"),  # relays to 6to4
    IPv6Network("2001::/23"),  # protocol assignments, Teredo
    IPv6Network("2002::/16"),  # 6to4
    IPv6Network("3fff::/20"),  # documentation
)


class Unreachable(Exception):
    """A host was not called, or gave no answer. The text says why, and quotes nothing of the URL."""


class Forbidden(OSError):
    """A name stands for an address that may not be called."""


def is_public(address: Address) -> bool:
    """Whether this is one machine's address, the same for everybody on the internet."""
    plain = _plain(address)
    if not plain.is_global or plain.is_multicast or any(plain in network for network in _SPECIAL):
        return False
    if isinstance(plain, IPv4Address):
        return True
    # The IPv4 address that an ISATAP router would unpack stands in the last half, whatever the prefix.
    return plain in _GLOBAL_UNICAST and int(plain) >> 32 & 0xFDFF_FFFF != _ISATAP


class Guard:
    """Which URLs and addresses may be called."""

    def __init__(self, settings: Egress) -> None:
        self.enabled = settings.enabled
        self.seconds = settings.seconds
        networks = {entry: _network(entry) for entry in settings.allow}
        self._networks = [network for network in networks.values() if network is not None]
        self._names = {_name(entry) for entry, network in networks.items() if network is None}

    def check(self, url: str, field: str) -> None:
        """Raise InvalidRequest, naming the field, when this URL may not be called. Nothing is looked up."""
        if objection := self.objection(url):
            raise InvalidRequest(f"'{field}' {objection}.")

    def objection(self, url: str) -> str | None:
        """What is wrong with this URL: the rest of a sentence about it; None when it may be called."""
        if not self.enabled:
            return "cannot be called: calls to other hosts are turned off here, 'egress.enabled'"
        if len(url) > _LONGEST_URL:
            return f"is longer than {_LONGEST_URL} characters"
        # aiohttp reads URLs with yarl too: what is judged here is what is called.
        try:
            parsed = URL(url)
        except ValueError:
            return "is not a URL"
        if not url.isprintable() or {" ", "\\"} & {*url} or not parsed.raw_host:
            return "is not a URL"
        if parsed.scheme not in {"http", "https"}:
            return "must begin with https://"
        if parsed.raw_user is not None or parsed.raw_password is not None or "#" in url:
            return "must not contain a user, a password or a fragment"
        return self._objection_to_host(parsed.raw_host) or self._objection_to_door(parsed)

    def admits(self, host: str, address: Address) -> bool:
        """Whether this address of this host may be connected to."""
        return _name(host) in self._names or self._is_mine(address) or is_public(address)

    def _is_mine(self, address: Address) -> bool:
        plain = _plain(address)
        return any(plain in network for network in self._networks)

    def _is_allowed(self, host: str) -> bool:
        name, address = _name(host), _literal(host)
        return name in self._names or (address is not None and self._is_mine(address))

    def _objection_to_host(self, host: str) -> str | None:
        name, address = _name(host), _literal(host)
        if "%" in host:
            return "has a host that is not a name"
        if self._is_allowed(host):
            return None
        if address is not None:
            return None if is_public(address) else "names an address that is not public"
        if len(name) > 253 or not _NAME.fullmatch(name):
            return "has a host that is not a name"
        last = name.rpartition(".")[2]
        if _NUMBER.fullmatch(last):
            return "writes an address in an unusual form"
        if last == name or name.endswith(tuple(f".{local}" for local in _LOCAL)):
            return "names a host that is not public"
        return None

    def _objection_to_door(self, url: URL) -> str | None:
        """What is wrong with scheme and port: but where the operator allows it, only what is likely HTTP."""
        port = url.port or 0
        if self._is_allowed(url.raw_host or ""):
            return None if port else "has no port that can be called"
        if url.scheme != "https":
            return "must begin with https://"
        return None if port == 443 or port >= 1024 else "must use port 443, or one from 1024 on"


class Poster:
    """Sends bodies to URLs that the guard lets through; an asynchronous context."""

    def __init__(self, guard: Guard, find: Lookup | None = None) -> None:
        self._guard = guard
        self._find = find or lookup
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(
            resolver=_Checked(self._guard, self._find),
            ssl=ssl.create_default_context(),
            use_dns_cache=False,
            limit=0,
            force_close=True,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers={"Accept-Encoding"},
            headers={"user-agent": "interactions-gateway"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """The status of the answer; what else it says is thrown away. Raises Unreachable.

        A redirect is an answer like any other: nobody goes there.
        """
        if objection := self._guard.objection(url):
            raise Unreachable(f"it {objection}")
        assert self._session is not None  # noqa: S101 - it has been entered
        status = None
        try:
            async with (
                asyncio.timeout(self._guard.seconds),
                self._session.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                status = response.status
                await _discard(response)
        except TimeoutError:
            problem = "no answer in time"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            problem = _reason(error)
        if status is None:
            raise Unreachable(problem)
        return status


class _Checked(AbstractResolver):
    """Looks a host up once; aiohttp connects to what is returned here and to nothing else."""

    def __init__(self, guard: Guard, find: Lookup) -> None:
        self._guard = guard
        self._find = find

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - the base class names it
    ) -> list[ResolveResult]:
        """The addresses of a host. One that may not be called spoils them all: it is no accident."""
        found = await self._find(host, port)
        addresses = [address for address in map(_literal, found) if address is not None]
        if not addresses:
            raise OSError("there is no such host")
        if not all(self._guard.admits(host, address) for address in addresses):
            raise Forbidden("the name stands for an address that is not public")
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET if address.version == 4 else socket.AF_INET6,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


async def lookup(host: str, port: int) -> list[str]:
    """The addresses of a host, asked for in a thread of its own.

    In the loop's own pool of threads, names whose servers never answer would hold up the look-ups of
    upstreams and the end of the process.
    """
    found: Future[list[str]] = Future()

    def ask() -> None:
        if not found.set_running_or_notify_cancel():
            return
        try:
            answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.set_result([str(answer[4][0]) for answer in answers])
        except (OSError, UnicodeError) as error:
            found.set_exception(error)

    threading.Thread(target=ask, name="lookup", daemon=True).start()
    return await asyncio.wrap_future(found)


async def _discard(response: aiohttp.ClientResponse) -> None:
    """Hear the receiver out, for a while: one that is cut short may take it for a failure."""
    left = _DISCARDED
    while left > 0 and (piece := await response.content.read(left)):
        left -= len(piece)


def _reason(error: Exception) -> str:
    """What went wrong, without the text of the error, which may quote the URL."""
    cause = getattr(error, "os_error", error)
    return str(cause) if isinstance(cause, Forbidden) else type(error).__name__


def _plain(address: Address) -> Address:
    """The IPv4 address that stands inside an IPv6 one where the network itself unpacks it."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address


def _name(host: str) -> str:
    return host.lower().removesuffix(".")


def _literal(host: str) -> Address | None:
    with contextlib.suppress(ValueError):
        return ip_address(_name(host))
    return None


def _network(entry: str) -> IPv4Network | IPv6Network | None:
    with contextlib.suppress(ValueError):
        return ip_network(entry)
    return None
