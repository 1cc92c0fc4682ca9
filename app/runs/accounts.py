"""Accounts: what calls may cost is reserved before, and what they did cost is written with their end.

Projects without a budget reserve nothing; which ones have a budget is asked every few seconds.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from app.core import budget, steps, usage
from app.core.budget import NOTHING, Bill
from app.core.model import Interaction, Request
from app.core.prices import Prices
from app.core.usage import BATCHES, Usage
from app.errors import ApiError, FailedPrecondition, Unavailable
from app.runs.run import Run
from app.store.budgets import Budgets
from app.store.ledger import RUN, Charge, Ledger
from app.store.records import FIRST_ATTEMPT, Claimed, NewInteraction
from app.store.reports import OPEN
from app.store.spending import Ask, Refusal
from app.upstream import failures

_DAY_MS = 86_400_000
_PRICES_KNOWN = 1024
_ORPHANED_MS = 300_000
"""A run's reservation may be without its row for so long; from then on the row tells whether it runs."""


class Size(NamedTuple):
    """What can be said beforehand of what a call will take; `most_output` is of each of its requests."""

    model: str | None
    bytes_in: int
    most_output: Sequence[object]


@dataclass(frozen=True, slots=True)
class Call:
    """A forwarded call: who makes it, which method it is, and where it goes."""

    id: str
    project_id: str
    key_id: str | None
    kind: str
    upstream: str | None
    credential: str | None
    size: Size


class Accounts:
    """Reserves and settles. `refresh` is how many seconds a new budget may take to be noticed."""

    def __init__(self, budgets: Budgets, ledger: Ledger, prices: Prices, refresh: float) -> None:
        self._budgets = budgets
        self._ledger = ledger
        self._prices = prices
        self._price = lru_cache(_PRICES_KNOWN)(prices.find)  # which is a look at every line of the table
        self._refresh = refresh
        self._budgeted: frozenset[str] | None = None
        self._stale_at = 0.0

    def estimate(self, size: Size) -> Bill:
        """What a call may take."""
        price = self._price(size.model or "", _today())
        return budget.estimate(price, size.bytes_in, size.most_output, self._prices.default_output)

    async def reserve_run(self, new: NewInteraction, request: Request) -> None:
        """Reserve what a run may take. Raises ApiError (402) when a hard budget has no room for it."""
        if await self._has_budget(new.project_id):
            bill = self.estimate(size_of(request, new.history_bytes + len(new.options)))
            await self._reserve(Ask(new.id, new.project_id, new.key_id, bill, _ORPHANED_MS), request.target)

    def release_run(self, new: NewInteraction) -> None:
        """A run could not be begun: give back what is reserved for it."""
        if self._counts(new.project_id):
            self._budgets.release(new.id)

    async def reserve(self, call: Call, seconds: float) -> None:
        """Reserve what a forwarded call may take, which has ended after so many seconds. Raises as above."""
        if await self._has_budget(call.project_id):
            tokens, cost = self.estimate(call.size)
            bill = Bill(tokens, self._priced(call.kind, cost))
            ask = Ask(call.id, call.project_id, call.key_id, bill, int(seconds * 1000) + _ORPHANED_MS)
            await self._reserve(ask, call.size.model or "")

    def begin(self, call: Call) -> None:
        """A forwarded call is made: it is in the ledger from now on, whatever becomes of this process."""
        self._ledger.write(self._charge(call, OPEN, None, None))

    def charge(self, run: Run, ended: Interaction) -> Charge:
        """What is written of a run, in the transaction that ends it."""
        job, said = run.job, run.fold.details.get("usage")
        used = usage.of_interaction(said) if said is not None or not _reached(run) else None
        model = job.model or job.agent
        price = self._price(model or "", _today())
        return Charge(
            call_id=job.id,
            project_id=job.project_id,
            key_id=job.key_id,
            kind=RUN,
            upstream=job.upstream,
            credential=run.affinity,
            model=model,
            status=ended.status,
            usage=used,
            labels=_labels(run.request.options.get("labels")),
            cost=price.cost(used) if price is not None and used is not None else None,
            reserved=isinstance(job, Claimed) or self._counts(job.project_id),
            seen=NOTHING if used is not None else self._seen(size_of(run.request, 0), _came(ended)),
        )

    def ended(self, charge: Charge) -> None:
        """A charge is on its way into the ledger: count it in its budgets soon."""
        if charge.reserved:
            self._budgets.tally(charge.project_id)

    def abandon(self, charge: Charge) -> None:
        """A lost run: another process has it, and writes its charge; or it is deleted, and this one does."""
        self._ledger.abandon(charge)
        self.ended(charge)

    def settle(self, call: Call, ending: str, used: Usage | None, heard: int = 0) -> None:
        """Write what a forwarded call did cost, if anybody knows, whose answer has so many bytes.

        It happens whether or not anybody waits.
        """
        cost = self._cost(call, _today(), [used] if used is not None else None)
        self._settle(self._charge(call, ending, used, cost)._replace(seen=self._seen(call.size, heard)))

    async def settle_late(self, call_id: str, ending: str, used: Sequence[Usage] | None) -> None:
        """Write how a call of many requests has ended that was made some time ago, unless that is known."""
        if (waiting := await self._ledger.waiting(call_id)) is None:
            return
        call = Call(
            id=call_id,
            project_id=waiting.project_id,
            key_id=waiting.key_id,
            kind=waiting.kind,
            upstream=waiting.upstream,
            credential=waiting.credential,
            size=Size(waiting.model, 0, ()),
        )
        cost = self._cost(call, waiting.at // _DAY_MS, used)
        charge = self._charge(call, ending, usage.together(used) if used else None, cost)
        self._settle(charge._replace(reserved=True))  # by whichever process began it

    def _settle(self, charge: Charge) -> None:
        self._ledger.write(charge)
        self.ended(charge)

    def _charge(self, call: Call, ending: str, used: Usage | None, cost: int | None) -> Charge:
        return Charge(
            call_id=call.id,
            project_id=call.project_id,
            key_id=call.key_id,
            kind=call.kind,
            upstream=call.upstream,
            credential=call.credential,
            model=call.size.model,
            status=ending,
            usage=used,
            labels={},
            cost=cost,
            reserved=self._counts(call.project_id),
        )

    @property
    def chores(self) -> tuple[Callable[[], Awaitable[bool]], ...]:
        """What a sweep has to do: add up for reports, give up what nobody settles, catch up."""
        return self._ledger.roll_up, self._budgets.expire, self._catch_up

    async def _catch_up(self) -> bool:
        """Count in budgets what a process has settled that died before counting it."""
        for project_id in await self._budgets.untallied():
            await self._budgets.tally(project_id)
        return False

    def _cost(self, call: Call, day: int, used: Sequence[Usage] | None) -> int | None:
        """What requests cost, each by itself: a long one is dearer than two that are as long together."""
        price = self._price(call.size.model or "", day)
        if used is None or price is None:
            return None
        return self._priced(call.kind, sum(map(price.cost, used)))

    def _priced(self, kind: str, cost: int | None) -> int | None:
        return self._prices.in_batch(cost) if cost is not None and kind in BATCHES else cost

    def _seen(self, size: Size, heard: int) -> Bill:
        price = self._price(size.model or "", _today())
        return budget.seen(price, heard, size.most_output, self._prices.default_output)

    def _counts(self, project_id: str) -> bool:
        return self._budgeted is None or project_id in self._budgeted

    async def _has_budget(self, project_id: str) -> bool:
        if time.monotonic() >= self._stale_at:
            self._stale_at = time.monotonic() + self._refresh  # the others go on with what is known
            with contextlib.suppress(Unavailable):  # what is known still holds; reserving would fail
                self._budgeted = await self._budgets.projects()
        if self._budgeted is None:  # another request asks for the first time just now, or has failed
            self._budgeted = await self._budgets.projects()
        return project_id in self._budgeted

    async def _reserve(self, ask: Ask, model: str) -> None:
        try:
            refusal = await self._budgets.reserve(ask)
        except asyncio.CancelledError:  # it may be reserved all the same
            self._budgets.release(ask.call_id)
            raise
        if refusal is not None:
            raise _refused(refusal, ask.bill, model)


def _reached(run: Run) -> bool:
    """Whether an upstream may have begun to work for a run: it was asked, and has not refused."""
    if run.heard or run.attempt > FIRST_ATTEMPT:
        return True
    return run.task is not None and not isinstance(run.error, failures.Refusal)


def _came(ended: Interaction) -> int:
    """How many bytes of output a run has."""
    return len(ended.output) - len(steps.NONE)


def size_of(request: Request, sent_bytes: int) -> Size:
    """What can be said of a run beforehand that sends so much: its history and its options."""
    config = request.options.get("generation_config")
    most = config.get("max_output_tokens") if isinstance(config, dict) else None
    return Size(request.target, sent_bytes, (most,))


def _refused(refusal: Refusal, bill: Bill, model: str) -> ApiError:
    """402, which SDKs do not send again: it would be refused again, until the period is over."""
    what = refusal.budget
    if refusal.left is None:
        text = f"There is no price for '{model}', so {what.shown()} cannot be kept with it."
        return FailedPrecondition(text)
    taken = budget.shown(what.unit, what.takes(bill) or 0)
    left = budget.shown(what.unit, refusal.left)
    text = f"This call may take up to {taken}, and {what.shown()} has {left} left."
    return ApiError(text, status=402, code="payment_required")


def _labels(given: Any) -> Mapping[str, str]:
    return given if isinstance(given, dict) else {}


def _today() -> int:
    return time.time_ns() // 1_000_000 // _DAY_MS
