"""The worker: keeps this process's runs its own, and takes up what others have left or queued."""

import logging
import random
import time
from collections.abc import Mapping

from app import log
from app.errors import ApiError
from app.runs.admission import Admission
from app.runs.run import Run
from app.runs.takeover import Takeover
from app.runs.wakeups import Wakeups
from app.settings import Runs as RunSettings
from app.store.claims import Claims


class Worker:
    """A loop that looks around every `poll` seconds, and whenever there is a hint.

    Leases are renewed every `heartbeat` seconds; a run that could not commit its end lives no more,
    so its lease lapses like that of a dead process.
    """

    def __init__(
        self,
        claims: Claims,
        takeover: Takeover,
        live: Mapping[str, Run],
        background: Admission,
        wakeups: Wakeups,
        settings: RunSettings,
    ) -> None:
        self._claims = claims
        self._takeover = takeover
        self._live = live
        self._background = background
        self._wakeups = wakeups
        self._settings = settings
        self._pause = min(settings.poll, settings.heartbeat)
        self._renewed = 0.0

    async def run(self) -> None:
        """Look around until cancelled; whatever goes wrong costs one look, not the loop."""
        while True:
            try:
                await self.look()
            except ApiError as error:
                log.event(logging.WARNING, "the worker cannot look around", reason=error.message)
            except Exception:  # noqa: BLE001 - without it every run here would be lost
                log.logger().exception("the worker failed in a way nobody foresaw")
            await self._wakeups.work(self._pause * random.uniform(0.8, 1))  # noqa: S311 - spreads replicas

    async def look(self) -> None:
        """Keep what is held, stop what is lost, take up what lapsed, then what waits."""
        await self._keep()
        while claimed := await self._claims.lapsed():
            for each in claimed:
                await self._takeover.take_up(each)
        if free := self._background.free:
            limits = free, self._settings.background_per_project, self._background.full()
            for each in await self._claims.queued(*limits):
                await self._takeover.take_up(each)

    async def _keep(self) -> None:
        live = {run.id: run for run in self._live.values() if run.inserted.done()}
        if not live:
            return
        if time.monotonic() - self._renewed >= self._settings.heartbeat:
            await self._claims.renew([*live])
            self._renewed = time.monotonic()
        held = await self._claims.held([run.id for run in live.values() if run.stored])
        for run in live.values():
            if run.stored and run.id not in held:
                run.lose()
