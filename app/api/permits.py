"""Permits: a call may be made when it is within the rate limits of its key and its project.

What has no limits, which is most, costs a look at four fields.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from app.auth.caller import Caller
from app.auth.quota import Permit, Quota
from app.core import quota, usage
from app.core.model import Request
from app.runs.accounts import Accounts, Size, size_of
from app.runs.run import Run


class Permits:
    """Gives permits, and takes them back when calls have ended."""

    def __init__(self, gate: Quota, accounts: Accounts) -> None:
        self._quota = gate
        self._accounts = accounts
        self._corrections: set[asyncio.Task[None]] = set()

    async def of_run(self, caller: Caller, request: Request, body: bytes) -> Permit | None:
        """A permit for a run, to be kept or given back; None without limits. Raises ApiError (429)."""
        return await self._admitted(caller, size_of(request, len(body)))

    async def give_back(self, permit: Permit | None) -> None:
        """A run could not be begun: it counts for nothing."""
        if permit is not None:
            await permit.give_back()

    def keep(self, permit: Permit | None, run: Run | None) -> None:
        """A run has begun, and keeps the permit to its end. One in the queue is counted by the database."""
        if permit is None:
            return
        if run is None:
            permit.leave()
        else:
            run.finished.add_done_callback(lambda _: self._ended(permit, run))

    @contextlib.asynccontextmanager
    async def of_call(self, caller: Caller, size: Size) -> AsyncIterator[Permit | None]:
        """A permit for a forwarded call, which is over at the end of the `with`. Raises ApiError (429)."""
        permit = await self._admitted(caller, size)
        try:
            yield permit
        finally:
            if permit is not None:
                permit.leave()

    def correct(self, permit: Permit | None, tokens: int) -> None:
        """Say what a call has used, once that is known."""
        if permit is not None and permit.taken:
            task = asyncio.create_task(permit.settle(tokens))
            self._corrections.add(task)
            task.add_done_callback(self._corrections.discard)

    async def _admitted(self, caller: Caller, size: Size) -> Permit | None:
        rules = caller.policy
        if rules.rpm is rules.tpm is rules.concurrent is None and not rules.model_limits:
            return None
        target = size.model or ""
        scopes = quota.scopes(caller.project_policy, caller.project_id, None, target)
        if caller.key_id is not None:
            scopes += quota.scopes(caller.key_policy, caller.project_id, caller.key_id, target)
        return await self._quota.admit(scopes, self._accounts.estimate(size).tokens) if scopes else None

    def _ended(self, permit: Permit, run: Run) -> None:
        permit.leave()
        self.correct(permit, usage.of_interaction(run.fold.details.get("usage")).total_tokens)
