"""The application: the parts of a process behind their routes. The composition root, with `app.parts`."""

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable, Mapping

from fastapi import FastAPI
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from app import log
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
from app.api.uploading import UploadRoutes
from app.api.visits import Visits
from app.auth.addresses import Addresses
from app.auth.bearers import Bearers
from app.auth.caller import Authenticator
from app.auth.keys import digest
from app.auth.quota import Counters
from app.core.versions import Versions
from app.limits import Limits
from app.parts import Ground, Parts
from app.runs.retries import Retries
from app.settings import Settings
from app.store.audit import Audit
from app.store.interactions import Interactions
from app.store.listing import Listing
from app.store.tokens import Tokens
from app.store.uploads import Uploads
from app.telemetry.metrics import Metrics
from app.telemetry.telling import Telemetry, framework

_COLLECTED_AFTER = 5000
"""Objects more than there were. Requests leave no cycles; looking for some costs them a twentieth."""


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
            ground = await Ground.lay(settings, telemetry, stack)
            counters = Counters(settings.redis_url.get_secret_value() if settings.redis_url else None)
            stack.push_async_callback(counters.close)
            parts = Parts.assemble(ground, counters)
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


def _add_routes(app: FastAPI, parts: Parts) -> None:
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


def _add_admin(app: FastAPI, parts: Parts, metrics: Metrics) -> None:
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
