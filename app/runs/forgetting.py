"""Forgetting: what upstreams keep of interactions that are gone here is deleted there, too."""

import asyncio
import logging
from collections.abc import Mapping

from app import log
from app.core.model import Kept
from app.errors import ApiError, NotFound, Unavailable
from app.store.leftovers import Due, Leftovers
from app.upstream.adapter import Adapter
from app.upstream.forward import Forwarders, Naming
from app.upstream.peer import Asked
from app.wire import resources

_VERSION = "v1beta"
_INTERACTIONS = "interactions/"
_SECONDS = 30


class Forgetting:
    """Deletes at the upstreams, with the key that made a thing, and again later when that fails."""

    def __init__(self, leftovers: Leftovers, adapters: Mapping[str, Adapter], forwarders: Forwarders) -> None:
        self._leftovers = leftovers
        self._adapters = adapters
        self._forwarders = forwarders

    async def some(self) -> bool:
        """Delete a few of what is due; False when nothing is."""
        due = await self._leftovers.take()
        await asyncio.gather(*(self._one(each) for each in due))
        return bool(due)

    async def _one(self, due: Due) -> None:
        """Delete one. What is not `done` comes again."""
        try:
            async with asyncio.timeout(_SECONDS):
                await self._delete(due)
        except NotFound:
            pass  # somebody else has deleted it, or its time there was over
        except (ApiError, TimeoutError) as error:
            reason = error.code if isinstance(error, ApiError) else "deadline_exceeded"
            facts = {"upstream": due.upstream, "kind": due.name.partition("/")[0], "reason": reason}
            if not due.last:
                log.event(logging.INFO, "an upstream still keeps what was deleted here", **facts)
                return
            log.event(logging.WARNING, "gave up deleting what an upstream keeps", **facts, name=due.name)
        except Exception:  # noqa: BLE001 - a fault of ours must not keep the others from being deleted
            log.logger().exception("deleting at an upstream failed in a way nobody foresaw")
            return
        await self._leftovers.done(due)

    async def _delete(self, due: Due) -> None:
        adapter, forwarder = self._adapters.get(due.upstream), self._forwarders.named(due.upstream)
        if adapter is None or forwarder is None:
            raise Unavailable(f"The upstream '{due.upstream}' is not configured.")
        if due.name.startswith(_INTERACTIONS):
            await adapter.forget(Kept(due.name.removeprefix(_INTERACTIONS), affinity=due.credential))
            return
        call = resources.match("DELETE", due.name)
        if call is None:
            raise NotFound(f"Nothing of this kind can be deleted: {due.name}")
        pool = forwarder.credentials
        key = (pool.any() if due.credential is None else pool.of(due.credential)).key
        async with forwarder.call(Asked("DELETE", f"/{_VERSION}/{call.target}", key=key), Naming(due.name)):
            pass
