"""The composition root: nobody else names concrete classes, but for `upstream.configured`."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from fastapi import FastAPI
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from app import ids, log
from app import settings as app_settings
from app.admin.api import surface as admin
from app.admin.api.gate import Gateway
from app.api import errors, health
from app.api.asking import Front
from app.api.audited import PEN, Audited, Pen
from app.api.creating import CreateRoute
from app.api.forwarding import ForwardRoutes
from app.api.interactions import InteractionRoutes
from app.api.listing import ListingRoutes
from app.api.metrics import Counted, MetricsRoute
from app.api.permits import Permits
from app.api.uploading import UploadRoutes
from app.api.visits import Visits
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
from app.settings import Settings
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
from app.store.sealing import Sealing
from app.store.tokens import Tokens
from app.store.uploads import Uploads
from app.store.webhooks import Webhooks
from app.telemetry.metrics import Metrics
from app.telemetry.observer import Observer
from app.telemetry.telling import Telemetry, framework
from app.upstream import client
from app.upstream.configured import Upstreams
from app.wire.references import GEMINI

_PRICES = Path(__file__).with_name("prices.toml")
"""The price table that comes with the gateway."""
_COLLECTED_AFTER = 5000
"""Objects more than there were. Interactions leave no cycles; looking for some costs them a twentieth."""
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
            ground = await _Ground.lay(settings, telemetry, stack)
            counters = Counters(settings.redis_url.get_secret_value() if settings.redis_url else None)
            stack.push_async_callback(counters.close)
            parts = _Parts.assemble(ground, counters)
            stack.push_async_callback(parts.engine.close)
            for loop in (parts.worker, parts.sweeper, parts.messenger, parts.sealer):
                task = asyncio.create_task(loop.run(), name=type(loop).__name__.lower())
                stack.callback(task.cancel)
            _add_routes(app, parts)
            _add_admin(app, parts, telemetry.metrics)
            gc.collect()
            gc.freeze()
            gc.set_threshold(_COLLECTED_AFTER, 10, 10)
            pen = Pen(Audit(ground.database))
            stack.callback(pen.flush)
            yield {PEN: pen}

    telemetry = Telemetry.of(
        settings.telemetry, [name for each in settings.upstreams for name in each.models]
    )
    app = FastAPI(lifespan=lifespan, openapi_url=None, docs_url=None, redoc_url=None, telemetry=framework())
    app.router.redirect_slashes = False
    errors.install(app)
    observer = telemetry.observer
    listeners = Counted(app.router.routes, observer), Audited()
    return Visits(Limits(app, settings.limits), observer.asked, *listeners)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What the parts of one process stand on; `owner` is its name on what it runs."""

    settings: Settings
    owner: str
    peppers: Versions[bytes]
    observer: Observer
    database: Database
    wakeups: Wakeups
    upstreams: Upstreams

    @classmethod
    async def lay(cls, settings: Settings, telemetry: Telemetry, stack: contextlib.AsyncExitStack) -> Self:
        """Open what has to be opened; the stack closes it."""
        peppers, observer = pepper.load(settings), telemetry.observer
        database = Database(settings.database_url, settings.sqlite_synchronous, observer)
        stack.push_async_callback(database.close)
        wakeups = await stack.enter_async_context(Wakeups(notices.of(settings.database_url)))
        carry = (
            telemetry.traces.carry if telemetry.traces and settings.telemetry.forward_traceparent else None
        )
        session = await stack.enter_async_context(client.session(settings.timeouts, carry))
        return cls(
            settings=settings,
            owner=ids.new_id("own"),
            peppers=peppers,
            observer=observer,
            database=database,
            wakeups=wakeups,
            upstreams=Upstreams.of(settings, session, peppers, observer),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What the routes and the loops of one process are made of."""

    ground: _Ground
    holders: Holders
    ownership: Ownership
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
    def assemble(cls, ground: _Ground, counters: Counters) -> Self:
        """Put the parts together."""
        settings, database, peppers = ground.settings, ground.database, ground.peppers
        runs, routes, observer = settings.runs, ground.upstreams.routes, ground.observer
        claims = Claims(database, ground.owner, int(runs.lease * 1000))
        books = Books(Interactions(database), Runs(database), claims)
        ownership = _ownership(ground)
        affinity = Affinity(ownership, ground.upstreams.pools)
        guard = Guard(settings.egress)
        messenger = Messenger(Webhooks(database), Poster(guard), peppers, settings.egress)
        accounts = _accounts(settings, database)
        executor = Executor(books, affinity, accounts, ground.wakeups, messenger.hint, settings, observer)
        background = Admission(runs.background, runs.background_per_project, 0, 0)
        takeover = Takeover(books, executor, routes, background, observer)
        return cls(
            ground=ground,
            holders=Holders(database, pepper.fingerprint(peppers.current)),
            ownership=ownership,
            engine=Engine(
                owner=ground.owner,
                books=books,
                executor=executor,
                takeover=takeover,
                routes=routes,
                affinity=affinity,
                accounts=accounts,
                background=background,
                wakeups=ground.wakeups,
                settings=settings,
            ),
            accounts=accounts,
            permits=Permits(Quota(counters, books.runs.running), accounts),
            followers=Followers(books, executor.live, _mirrors(ground, books), runs.keep_alive),
            admission=_admission(runs),
            guard=guard,
            worker=Worker(claims, takeover, executor.live, background, ground.wakeups, runs),
            sweeper=_sweeper(ground, accounts),
            messenger=messenger,
            sealer=_sealer(ground),
        )


def _mirrors(ground: _Ground, books: Books) -> Mirrors:
    runs = ground.settings.runs
    poll = _SQLITE_POLL if ground.database.is_sqlite else runs.poll
    return Mirrors(books, ground.wakeups, runs.tail_bytes, poll)


def _sealer(ground: _Ground) -> Sealer:
    database, secrets = ground.database, ground.peppers.map(pepper.audit_secret)
    return Sealer(Sealing(database), Leases(database), ground.owner, secrets)


def _ownership(ground: _Ground) -> Ownership:
    settings, known = ground.settings, ground.upstreams.fingerprints()
    resources = Resources(ground.database, {name: each.current for each in known for name in each.all()[1:]})
    return Ownership(resources, _hosts(settings), enforced=settings.auth == "keys")


def _accounts(settings: Settings, database: Database) -> Accounts:
    table = prices.parse((settings.prices or _PRICES).read_text(encoding="utf-8"))
    return Accounts(Budgets(database), Ledger(database), table, settings.key_cache_seconds)


def _admission(settings: RunSettings) -> Admission:
    """The places of foreground runs."""
    each = settings.concurrent, settings.concurrent_per_project
    return Admission(*each, settings.queue, settings.queue_wait)


def _sweeper(ground: _Ground, accounts: Accounts) -> Sweeper:
    """What tidies up, and what else is done at its pace."""
    settings, database, upstreams = ground.settings, ground.database, ground.upstreams
    forgetting = Forgetting(Leftovers(database), upstreams.adapters, upstreams.forwarders)
    fingerprints = Fingerprints(database, upstreams.fingerprints())
    chores = (forgetting.some, *accounts.chores, fingerprints.some)
    retention = Retention(database, settings.retention.clock, int(settings.runs.resume_window * 1000))
    leases = Leases(database)
    return Sweeper(retention, leases, chores, ground.owner, settings.retention, ground.observer)


def _add_routes(app: FastAPI, parts: _Parts) -> None:
    """Put the routes into the application, the hot ones first."""
    ground, settings, database = parts.ground, parts.ground.settings, parts.ground.database
    passthrough = settings.auth == "passthrough"
    authenticator = Authenticator(
        ground.peppers,
        parts.holders.passthrough if passthrough else parts.holders.of_key,
        passthrough=passthrough,
        cache_seconds=settings.key_cache_seconds,
        addresses=Addresses(settings.trusted_proxies),
    )
    ground.wakeups.on_revoked(authenticator.forget)
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
    forwarders = ground.upstreams.forwarders
    front = Front(authenticator, parts.ownership, forwarders, parts.permits, parts.accounts, settings)
    uploading = UploadRoutes(front, Uploads(database), _digests(ground.peppers))
    app.router.routes[:0] = [*surface.routes(), *listing.routes()]
    app.include_router(health.router(database))
    app.router.routes.extend([*ForwardRoutes(front).routes(), *uploading.routes()])


def _add_admin(app: FastAPI, parts: _Parts, metrics: Metrics) -> None:
    """The admin API, and the metrics, which its tokens let see."""
    ground, settings = parts.ground, parts.ground.settings
    tokens, addresses = Tokens(ground.database), Addresses(settings.trusted_proxies)
    environment = settings.admin_token.get_secret_value() if settings.admin_token else None
    found = parts.holders.of_token, tokens.exist
    bearers = Bearers(ground.peppers, environment, *found, settings.key_cache_seconds)
    gateway = Gateway(settings, ground.database, ground.upstreams.forwarders.pools())
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


def _hosts(settings: Settings) -> frozenset[str]:
    """The hosts whose URIs mean files of an upstream."""
    bases = [upstream.base_url for upstream in settings.upstreams if upstream.base_url is not None]
    return frozenset({GEMINI, *(str(base.host) for base in bases)})
