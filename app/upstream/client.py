"""The HTTP client for upstreams: one connection pool for the process.

aiohttp rather than httpx: docs/decisions/0002-upstream-client.md has the measurement.
"""

from collections.abc import Callable, MutableMapping
from types import SimpleNamespace

import aiohttp

from app.settings import Timeouts

Carry = Callable[[MutableMapping[str, str]], None]
"""Adds to the headers of a request, at the last moment."""


def session(timeouts: Timeouts, carry: Carry | None = None) -> aiohttp.ClientSession:
    """A pool without cookies, proxies from the environment, or a limit of its own on connections.

    Must be called where an event loop runs. Reading is bounded between two reads, not in total:
    a run has its own deadline.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
        timeout=aiohttp.ClientTimeout(total=None, connect=timeouts.connect, sock_read=timeouts.idle),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        read_bufsize=2**18,
        skip_auto_headers={"User-Agent", "Accept-Encoding"},
        headers={"user-agent": "interactions-gateway", "accept-encoding": "identity"},
        trace_configs=[_carrying(carry)] if carry is not None else None,
    )


def _carrying(carry: Carry) -> aiohttp.TraceConfig:
    async def start(
        _session: aiohttp.ClientSession,
        _context: SimpleNamespace,
        begun: aiohttp.TraceRequestStartParams,
    ) -> None:
        carry(begun.headers)

    config = aiohttp.TraceConfig()
    config.on_request_start.append(start)
    return config
