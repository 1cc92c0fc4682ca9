"""Addresses: where a request comes from, also behind proxies that are known.

What `X-Forwarded-For` says counts as far as trusted proxies have written it. Each one adds, at the
end, whom it was asked by: read from there, the first address that is no trusted proxy's is the
client's. Whatever stands before it, anybody may have made up.
"""

from collections.abc import Iterable, Sequence
from ipaddress import ip_network

from app.core.policy import parsed

Peer = tuple[str, int]
"""The other end of the connection, as the server tells it."""


class Networks:
    """Some networks, as `10.0.0.0/8`. An address that cannot be read is in none."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = [ip_network(each) for each in networks]

    def __contains__(self, address: str | None) -> bool:
        found = parsed(address) if self._networks else None
        return found is not None and any(found in network for network in self._networks)


class Addresses:
    """Tells clients' addresses; `trusted_proxies` are networks."""

    def __init__(self, trusted_proxies: Iterable[str] = ()) -> None:
        self._trusted = Networks(trusted_proxies)

    def client(self, headers: Sequence[tuple[bytes, bytes]], peer: Peer | None) -> str | None:
        """The address that the request comes from; None when it is not known."""
        address = peer[0] if peer is not None else None
        if address not in self._trusted:
            return address
        lines = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
        for entry in reversed(",".join(lines).split(",") if lines else []):
            address = _without_port(entry.strip())
            if address not in self._trusted:
                break
        return address


def _without_port(entry: str) -> str | None:
    """The address in an entry, which some proxies write with a port; None when there is none."""
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    found = parsed(entry)
    return str(found) if found is not None else None
