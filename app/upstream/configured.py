"""The configured upstreams: their keys, and what speaks to them, by the names in the settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import aiohttp

from app.core.versions import Versions
from app.settings import Settings, Upstream
from app.telemetry.observer import Observer
from app.upstream.adapter import Adapter
from app.upstream.credentials import Credentials, Secret
from app.upstream.forward import Forwarder, Forwarders
from app.upstream.interactions import InteractionsAdapter
from app.upstream.peer import AsgiPeer, HttpPeer, Peer
from app.upstream.routing import Routes
from app.upstream.simulator import server as simulator
from app.upstream.simulator.adapter import SimulatorAdapter


@dataclass(frozen=True, slots=True)
class Upstreams:
    """Whatever answers: interactions by `routes`, the rest of the API by `forwarders`."""

    pools: Mapping[str, Credentials]
    adapters: Mapping[str, Adapter]
    routes: Routes
    forwarders: Forwarders

    @classmethod
    def of(
        cls, settings: Settings, session: aiohttp.ClientSession, peppers: Versions[bytes], observer: Observer
    ) -> Self:
        """The configured ones, in their order."""
        configured = settings.upstreams
        pools = {each.name: _credentials(each, peppers) for each in configured}
        adapters = {each.name: _adapter(each, settings, session, pools[each.name]) for each in configured}
        forwarders = [
            Forwarder(each.name, each.models, pools[each.name], _peer(each, session), observer)
            for each in configured
        ]
        routes = Routes([(each.models, adapters[each.name]) for each in configured])
        return cls(pools, adapters, routes, Forwarders(forwarders))

    def fingerprints(self) -> list[Versions[str]]:
        """What the keys of all of them are stored as."""
        return [each for pool in self.pools.values() for each in pool.fingerprints()]


def _credentials(upstream: Upstream, peppers: Versions[bytes]) -> Credentials:
    keys = [
        Secret(each.key.get_secret_value(), each.weight, frozenset(each.projects))
        for each in upstream.api_keys
    ]
    if upstream.kind == "simulator" and not keys:
        keys = [Secret("embedded")]  # it takes any
    return Credentials(upstream.name, keys, peppers)


def _adapter(
    upstream: Upstream, settings: Settings, session: aiohttp.ClientSession, pool: Credentials
) -> Adapter:
    if upstream.kind == "simulator":
        return SimulatorAdapter(upstream.name)
    return InteractionsAdapter(upstream.name, session, str(upstream.base_url), pool, settings.runs)


def _peer(upstream: Upstream, session: aiohttp.ClientSession) -> Peer:
    """What the rest of the API is forwarded to: a server, or the simulator's, in this process."""
    if upstream.kind == "simulator":
        return AsgiPeer(simulator.create_app())
    return HttpPeer(session, str(upstream.base_url))
