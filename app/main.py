"""The composition root: the only file that names concrete classes."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import aiohttp
from fastapi import FastAPI
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from app import ids, log
from app import settings as app_settings
from app.admin.api import surface as admin
from app.admin.api.gate import Gateway
from app.api import audited, errors, health
from app.api.asking import Front
from app.api.creating import CreateRoute
from app.api.forwarding import ForwardRoutes
from app.api.interactions import InteractionRoutes
from app.api.listing import ListingRoutes
from app.api.metrics import Counted, MetricsRoute
from app.api.permits import Permits
from app.api.uploading import UploadRoutes
from app.auth import pepper
from app.auth.addresses import Addresses
from app.auth.bearers import Bearers
from app.auth.caller import Authenticator
from app.auth.keys import digest
from app.auth.ownership import Ownership
from app.auth.quota import Counters, Quota
from app.core import prices
from app.core.versions import Versions
from app.egress import Guard, Poster
from app.limits import Limits
from app.runs.accounts import Accounts
from app.runs.admission import Admission
from app.runs.affinity import Affinity
from app.runs.engine import Engine
from app.runs.execution import Executor
from app.runs.follow import Followers
from app.runs.forgetting import Forgetting
from app.runs.mirror import Mirrors
from app.runs.retries import Retries
from app.runs.sealer import Sealer
from app.runs.sweeper import Sweeper
from app.runs.takeover import Takeover
from app.runs.wakeups import Wakeups
from app.runs.webhooks import Messenger
from app.runs.worker import Worker
from app.settings import Runs as RunSettings
from app.settings import Settings, Upstream
from app.store import notices
from app.store.audit import Audit
from app.store.books import Books
from app.store.budgets import Budgets
from app.store.claims import Claims
from app.store.database import Database
from app.store.fingerprints import Fingerprints
from app.store.holders import Holders
from app.store.interactions import Interactions
from app.store.leases import Leases
from app.store.ledger import Ledger
from app.store.leftovers import Leftovers
from app.store.listing import Listing
from app.store.resources import Resources
from app.store.retention import Retention
from app.store.runs import Runs
from app.store.tokens import Tokens
from app.store.uploads import Uploads
from app.store.webhooks import Webhooks
from app.telemetry.metrics import Metrics
from app.telemetry.observer import Observer
from app.telemetry.telling import Telemetry, framework
from app.upstream import client
from app.upstream.adapter import Adapter
from app.upstream.credentials import Credentials, Secret
from app.upstream.forward import Forwarder, Forwarders
from app.upstream.interactions import InteractionsAdapter
from app.upstream.peer import AsgiPeer, HttpPeer, Peer
from app.upstream.routing import Routes
from app.upstream.simulator import server as simulator
from app.upstream.simulator.adapter import SimulatorAdapter
from app.wire.references import GEMINI

_PRICES = Path(__file__).with_name("prices.toml")
"""The price table that comes with the gateway."""
_SQLITE_POLL = 0.2
"""Seconds from one look for a run's new events to the next, where no other process can give a hint."""


def from_environment() -> ASGIApp:
    """The application for the settings of this process: what uvicorn is told to call."""
    settings = app_settings.load()
    log.configure(settings.log_level, settings.log_format)
    return create_app(settings)


def create_app(settings: Settings) -> ASGIApp:
    """The gateway as an ASGI application. Its database must have been migrated."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[Mapping[str, object]]:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(telemetry.close)
            parts = await _Parts.assemble(settings, telemetry, stack)
            stack.push_async_callback(parts.engine.close)
            for loop in (parts.worker, parts.sweeper, parts.messenger, parts.sealer):
                task = asyncio.create_task(loop.run(), name=type(loop).__name__.lower())
                stack.callback(task.cancel)
            _add_routes(app, settings, parts)
            _add_admin(app, settings, parts, telemetry.metrics)
            gc.collect()
            gc.freeze()
            pen = audited.Pen(Audit(parts.database))
            stack.callback(pen.flush)
            yield {audited.PEN: pen}

    telemetry = Telemetry.of(
        settings.telemetry, [name for each in settings.upstreams for name in each.models]
    )
    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None, telemetry=framework())
    app.router.redirect_slashes = False
    errors.install(app)
    return Counted(audited.Audited(Limits(app, settings.limits)), app.router.routes, telemetry.observer)


@dataclass(frozen=True, slots=True)
class _Upstreams:
    """Whatever answers, by the names in the settings."""

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
        adapters = {each.name: _adapter(each, settings, session, pools) for each in configured}
        forwarders = [
            Forwarder(each.name, each.models, pools[each.name], _peer(each, session), observer)
            for each in configured
        ]
        routes = Routes([(each.models, adapters[each.name]) for each in configured])
        return cls(pools, adapters, routes, Forwarders(forwarders))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What the routes and the loops of one process are made of."""

    database: Database
    holders: Holders
    wakeups: Wakeups
    peppers: Versions[bytes]
    ownership: Ownership
    forwarders: Forwarders
    engine: Engine
    accounts: Accounts
    permits: Permits
    followers: Followers
    admission: Admission
    guard: Guard
    worker: Worker
    sweeper: Sweeper
    messenger: Messenger
    sealer: Sealer

    @classmethod
    async def assemble(
        cls, settings: Settings, telemetry: Telemetry, stack: contextlib.AsyncExitStack
    ) -> Self:
        """Put the parts together; the stack takes them apart again."""
        observer = telemetry.observer
        runs_settings, peppers, owner = settings.runs, pepper.load(settings), ids.new_id("own")
        database = Database(settings.database_url, settings.sqlite_synchronous, observer)
        stack.push_async_callback(database.close)
        wakeups = await stack.enter_async_context(Wakeups(notices.of(settings.database_url)))
        carried = telemetry.traces if settings.telemetry.forward_traceparent else None
        carry = carried.carry if carried else None
        session = await stack.enter_async_context(client.session(settings.timeouts, carry))
        upstreams = _Upstreams.of(settings, session, peppers, observer)
        known = [each for pool in upstreams.pools.values() for each in pool.fingerprints()]
        resources = Resources(database, {name: each.current for each in known for name in each.all()[1:]})
        ownership = Ownership(resources, _hosts(settings), enforced=settings.auth == "keys")
        affinity = Affinity(ownership, upstreams.pools)
        claims = Claims(database, owner, int(runs_settings.lease * 1000))
        books = Books(Interactions(database), Runs(database), claims)
        guard = Guard(settings.egress)
        messenger = Messenger(Webhooks(database), Poster(guard), peppers, settings.egress)
        accounts = _accounts(settings, database)
        counters = Counters(settings.redis_url.get_secret_value() if settings.redis_url else None)
        stack.push_async_callback(counters.close)
        executor = Executor(books, affinity, accounts, wakeups, messenger.hint, settings, observer)
        background = Admission(runs_settings.background, runs_settings.background_per_project, 0, 0)
        forgetting = Forgetting(Leftovers(database), upstreams.adapters, upstreams.forwarders)
        chores = (forgetting.some, *accounts.chores, Fingerprints(database, known).some)
        takeover = Takeover(books, executor, upstreams.routes, background, settings.limits, observer)
        poll = _SQLITE_POLL if database.is_sqlite else runs_settings.poll
        mirrors = Mirrors(books, wakeups, runs_settings.tail_bytes, poll)
        return cls(
            database=database,
            holders=Holders(database, pepper.fingerprint(peppers.current)),
            wakeups=wakeups,
            peppers=peppers,
            ownership=ownership,
            forwarders=upstreams.forwarders,
            engine=Engine(
                owner,
                books,
                executor,
                takeover,
                upstreams.routes,
                affinity,
                accounts,
                background,
                wakeups,
                settings,
            ),
            accounts=accounts,
            permits=Permits(Quota(counters, books.runs.running), accounts),
            followers=Followers(books, executor.live, mirrors, runs_settings.keep_alive),
            admission=_admission(runs_settings),
            guard=guard,
            worker=Worker(claims, takeover, executor.live, background, wakeups, runs_settings),
            sweeper=_sweeper(settings, database, owner, chores, observer),
            messenger=messenger,
            sealer=Sealer(Audit(database), Leases(database), owner, peppers.map(pepper.audit_secret)),
        )


def _accounts(settings: Settings, database: Database) -> Accounts:
    table = prices.parse((settings.prices or _PRICES).read_text(encoding="utf-8"))
    return Accounts(Budgets(database), Ledger(database), table, settings.key_cache_seconds)


def _admission(settings: RunSettings) -> Admission:
    """The places of foreground runs."""
    each = settings.concurrent, settings.concurrent_per_project
    return Admission(*each, settings.queue, settings.queue_wait)


def _sweeper(
    settings: Settings,
    database: Database,
    owner: str,
    chores: Sequence[Callable[[], Awaitable[bool]]],
    observer: Observer,
) -> Sweeper:
    window = int(settings.runs.resume_window * 1000)
    retention = Retention(database, settings.retention.clock, window)
    return Sweeper(retention, Leases(database), chores, owner, settings.retention, observer)


def _add_routes(app: FastAPI, settings: Settings, parts: _Parts) -> None:
    """Put the routes into the application, the hot ones first."""
    database, passthrough = parts.database, settings.auth == "passthrough"
    authenticator = Authenticator(
        parts.peppers,
        parts.holders.passthrough if passthrough else parts.holders.of_key,
        passthrough=passthrough,
        cache_seconds=settings.key_cache_seconds,
        addresses=Addresses(settings.trusted_proxies),
    )
    parts.wakeups.on_revoked(authenticator.forget)
    interactions = Interactions(database)
    creating = CreateRoute(
        authenticator=authenticator,
        admission=parts.admission,
        engine=parts.engine,
        followers=parts.followers,
        interactions=interactions,
        retries=Retries(),
        permits=parts.permits,
        guard=parts.guard,
        settings=settings,
    )
    surface = InteractionRoutes(
        authenticator=authenticator,
        creating=creating,
        engine=parts.engine,
        followers=parts.followers,
        interactions=interactions,
        settings=settings,
    )
    listing = ListingRoutes(authenticator, Listing(database))
    front = Front(authenticator, parts.ownership, parts.forwarders, parts.permits, parts.accounts, settings)
    uploading = UploadRoutes(front, Uploads(database), _digests(parts.peppers))
    app.router.routes[:0] = [*surface.routes(), *listing.routes()]
    app.include_router(health.router(database))
    app.router.routes.extend([*ForwardRoutes(front).routes(), *uploading.routes()])


def _add_admin(app: FastAPI, settings: Settings, parts: _Parts, metrics: Metrics) -> None:
    """The admin API, and the metrics, which its tokens let see."""
    tokens, addresses = Tokens(parts.database), Addresses(settings.trusted_proxies)
    environment = settings.admin_token.get_secret_value() if settings.admin_token else None
    found = parts.holders.of_token, tokens.exist
    bearers = Bearers(parts.peppers, environment, *found, settings.key_cache_seconds)
    gateway = Gateway(settings, parts.database, parts.forwarders.pools())
    app.router.routes.append(Mount(admin.PREFIX, admin.create(gateway, bearers, addresses)))
    metrics.gauge(
        "live_runs", "Runs of this process that have not ended.", lambda: len(parts.engine.executor.live)
    )
    metrics.gauge("running_requests", "Requests that have a slot.", lambda: parts.admission.running)
    metrics.gauge("waiting_requests", "Requests that wait for a slot.", lambda: parts.admission.waiting)
    if settings.telemetry.metrics != "off":
        shown = MetricsRoute(
            metrics.text, None if settings.telemetry.metrics == "open" else bearers, addresses
        )
        app.router.routes.append(Route("/metrics", errors.Endpoint(shown, None), methods=["GET"]))


def _digests(peppers: Versions[bytes]) -> Callable[[str], Versions[bytes]]:
    """What tokens of uploads are stored as."""
    return lambda token: peppers.map(lambda each: digest(each, token))


def _credentials(upstream: Upstream, peppers: Versions[bytes]) -> Credentials:
    keys = [
        Secret(each.key.get_secret_value(), each.weight, frozenset(each.projects))
        for each in upstream.api_keys
    ]
    if upstream.kind == "simulator" and not keys:
        keys = [Secret("embedded")]  # it takes any
    return Credentials(upstream.name, keys, peppers)


def _hosts(settings: Settings) -> frozenset[str]:
    """The hosts whose URIs mean files of an upstream."""
    bases = [upstream.base_url for upstream in settings.upstreams if upstream.base_url is not None]
    return frozenset({GEMINI, *(str(base.host) for base in bases)})


def _adapter(
    upstream: Upstream,
    settings: Settings,
    session: aiohttp.ClientSession,
    pools: Mapping[str, Credentials],
) -> Adapter:
    name = upstream.name
    if upstream.kind == "simulator":
        return SimulatorAdapter(name)
    return InteractionsAdapter(name, session, str(upstream.base_url), pools[name], settings.runs)


def _peer(upstream: Upstream, session: aiohttp.ClientSession) -> Peer:
    """What the rest of the API is forwarded to: a server, or the simulator's, in this process."""
    if upstream.kind == "simulator":
        return AsgiPeer(simulator.create_app())
    return HttpPeer(session, str(upstream.base_url))
