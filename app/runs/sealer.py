"""The sealer: of all processes one at a time chains what the audit log has got.

A record waits for its hash about a second. A chain whose end is not what was signed is left alone,
so that nothing that was done to it is covered up: what it gets stays unsealed, and the log says so.
"""

import asyncio
import logging
import random

from app import log
from app.core.versions import Versions
from app.errors import ApiError
from app.store.leases import Leases
from app.store.sealing import Sealing, Signer

SEAL = "seal"
"""The name of the lease."""

_EVERY = 1.0
_LEASE_MS = 30_000
_PAUSE = 0.005


class Sealer:
    """A loop that seals what is new about every second; `secrets` sign the heads of the chains.

    It begins with signing anew what is signed with the previous one.
    """

    def __init__(self, sealing: Sealing, leases: Leases, owner: str, secrets: Versions[bytes]) -> None:
        self._sealing = sealing
        self._leases = leases
        self._owner = owner
        self._signer = Signer(SEAL, owner, secrets)
        self._renewed = secrets.previous is None
        self._told: set[str] = set()

    async def run(self) -> None:
        """Seal until cancelled; whatever goes wrong is tried again."""
        while True:
            await asyncio.sleep(_EVERY * random.uniform(0.5, 1.5))  # noqa: S311 - spreads replicas
            try:
                await self.seal()
            except ApiError as error:
                log.event(logging.WARNING, "the audit log was not sealed", reason=error.message)
            except Exception:  # noqa: BLE001 - the next round must come
                log.logger().exception("sealing the audit log failed in a way nobody foresaw")

    async def seal(self) -> int:
        """Seal everything that waits, unless another process does; how many records."""
        if not self._renewed:
            await self._renew()
        count, broken = 0, list[str]()
        while projects := await self._sealing.unsealed(broken):
            if not await self._leases.take(SEAL, self._owner, _LEASE_MS):
                return count
            for project_id in projects:
                sealed = await self._sealing.seal(project_id, self._signer)
                if sealed is None:
                    broken.append(project_id)
                    self._tell(project_id)
                count += sealed or 0
            await asyncio.sleep(_PAUSE)  # between two batches others write
        if count:
            await self._leases.done(SEAL, self._owner)
        return count

    async def _renew(self) -> None:
        """Have no head hang on the previous secret; by another process, if that one has the lease."""
        if await self._leases.take(SEAL, self._owner, _LEASE_MS):
            renewed = await self._sealing.renew(self._signer)
            self._renewed = renewed == 0  # else there may be more, in the next round
            await self._leases.done(SEAL, self._owner)

    def _tell(self, project_id: str) -> None:
        if project_id not in self._told:
            self._told.add(project_id)
            text = "the audit log has been tampered with: see `gateway audit verify`"
            log.event(logging.ERROR, text, project=project_id)
