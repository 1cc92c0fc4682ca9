"""Starting the servers: uvicorn with uvloop and httptools, for the gateway and the simulator."""

import math
import socket
from functools import partial
from typing import Any

import uvicorn

from app.admin.operations import Operations
from app.admin.peppers import Peppers
from app.admin.teams import NewKey, Teams
from app.core.audit import Actor
from app.protocol import Protocol
from app.settings import Settings
from app.store.database import Database

_GATEWAY = "app.main:from_environment"
_SIMULATOR = "app.upstream.simulator.server:create_app"
_WORKER_SECONDS = 30
"""A worker that is silent for so long is replaced; while it starts, which may take a while, it is silent."""


async def prepare(settings: Settings, database: Database, actor: Actor) -> NewKey | None:
    """What has to be done once before any process serves; the key of the very first start."""
    Operations(settings, database).migrate()
    await Peppers(settings, database, actor).check()
    return await Teams(settings, database, actor).first_key()


def claim(host: str, port: int) -> int:
    """The port to serve on, a free one for 0. Raises OSError when it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as probe:
        return int(probe.getsockname()[1])


def serve(settings: Settings, host: str, port: int, workers: int) -> None:
    """Serve the gateway until told to stop; open requests then have `drain` seconds, and so have runs."""
    _serve(
        _GATEWAY,
        host,
        port,
        http=partial(Protocol, settings.limits),
        workers=workers,
        timeout_worker_healthcheck=_WORKER_SECONDS,
        timeout_graceful_shutdown=math.ceil(settings.runs.drain),
    )


def simulate(host: str, port: int) -> None:
    """Serve the simulator until told to stop."""
    # Whoever hangs on a request that is never answered does not keep the simulator from stopping.
    _serve(_SIMULATOR, host, port, http="httptools", timeout_graceful_shutdown=1)


def _serve(factory: str, host: str, port: int, **options: Any) -> None:
    uvicorn.run(
        factory,
        factory=True,
        host=host,
        port=port,
        loop="uvloop",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        backlog=4096,
        **options,
    )
