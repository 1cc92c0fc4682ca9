"""The parts of a process. Nobody names concrete classes but this, `app.main` and `upstream.configured`."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from app import ids
from app.api.permits import Permits
from app.auth import pepper
from app.auth.ownership import Ownership
from app.auth.quota import Counters, Quota
from app.core import prices
from app.core.versions import Versions
from app.egress import Guard, Poster
from app.runs.accounts import Accounts
from app.runs.admission import Admission
from app.runs.affinity import Affinity
from app.runs.engine import Engine
from app.runs.execution import Executor
from app.runs.follow import Followers
from app.runs.forgetting import Forgetting
from app.runs.mirror import Mirrors
from app.runs.sealer import Sealer
from app.runs.sweeper import Sweeper
from app.runs.takeover import Takeover
from app.runs.wakeups import Wakeups
from app.runs.webhooks import Messenger
from app.runs.worker import Worker
from app.settings import Runs as RunSettings
from app.settings import Settings
from app.store import notices
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
from app.store.resources import Resources
from app.store.retention import Retention
from app.store.runs import Runs
from app.store.sealing import Sealing
from app.store.webhooks import Webhooks
from app.telemetry.observer import Observer
from app.telemetry.telling import Telemetry
from app.upstream import client
from app.upstream.configured import Upstreams
from app.wire.references import GEMINI

_PRICES = Path(__file__).with_name("prices.toml")
"""The price table that comes with the gateway."""
_SQLITE_POLL = 0.2
"""Seconds from one look for a run's new events to the next, where no other process can give a hint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
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
class Parts:
    """What the routes and the loops of one process are made of."""

    ground: Ground
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
    def assemble(cls, ground: Ground, counters: Counters) -> Self:
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


def _mirrors(ground: Ground, books: Books) -> Mirrors:
    runs = ground.settings.runs
    poll = _SQLITE_POLL if ground.database.is_sqlite else runs.poll
    return Mirrors(books, ground.wakeups, runs.tail_bytes, poll)


def _sealer(ground: Ground) -> Sealer:
    database, secrets = ground.database, ground.peppers.map(pepper.audit_secret)
    return Sealer(Sealing(database), Leases(database), ground.owner, secrets)


def _ownership(ground: Ground) -> Ownership:
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


def _sweeper(ground: Ground, accounts: Accounts) -> Sweeper:
    """What tidies up, and what else is done at its pace."""
    settings, database, upstreams = ground.settings, ground.database, ground.upstreams
    forgetting = Forgetting(Leftovers(database), upstreams.adapters, upstreams.forwarders)
    fingerprints = Fingerprints(database, upstreams.fingerprints())
    chores = (forgetting.some, *accounts.chores, fingerprints.some)
    retention = Retention(database, settings.retention.clock, int(settings.runs.resume_window * 1000))
    leases = Leases(database)
    return Sweeper(retention, leases, chores, ground.owner, settings.retention, ground.observer)


def _hosts(settings: Settings) -> frozenset[str]:
    """The hosts whose URIs mean files of an upstream."""
    bases = [upstream.base_url for upstream in settings.upstreams if upstream.base_url is not None]
    return frozenset({GEMINI, *(str(base.host) for base in bases)})
