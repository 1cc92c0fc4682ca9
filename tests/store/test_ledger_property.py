"""Whatever fails when: what budgets have spent is what the ledger says, and each call is in it once."""

import random

import pytest
from sqlalchemy import func, select

from app.store.budgets import Budgets
from app.store.ledger import Ledger, Wanted
from app.store.schema import usage_days, usage_ledger
from tests.store.conftest import MINE, Store, new, outcome
from tests.store.test_budgets import a_budget, ask, charge, told


class Gateway:
    """Runs and forwarded calls that begin, end, are lost, taken over and deleted in any order."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self.store, self.chance = store, chance
        self.budgets, self.ledger = Budgets(store.database), Ledger(store.database)
        self.runs: dict[str, int] = {}
        """Those that go on, with the attempt that has them."""
        self.dead: list[tuple[str, int]] = []
        """Attempts that have lost theirs, and do not know it."""
        self.calls: list[str] = []
        self.costs: dict[str, int] = {}
        """What each call that has ended did cost."""
        self.count = 0

    async def begin_run(self) -> None:
        run = new(key_id="key_1", owner=f"own_{self.count}", lease_ms=self.chance.choice([-1000, 10**6]))
        if await self.budgets.reserve(ask(run.id)) is None:
            await self.store.runs.insert(run)
            self.runs[run.id] = 1

    async def begin_call(self) -> None:
        self.count += 1
        call_id = f"call_{self.count}"
        if await self.budgets.reserve(ask(call_id)) is None:
            self.calls.append(call_id)

    async def end_run(self) -> None:
        if self.runs:
            run_id = self.chance.choice(sorted(self.runs))
            await self._finish(run_id, self.runs[run_id])

    async def end_late(self) -> None:
        """An attempt that has been passed, by a takeover or a delete, wants to end all the same."""
        if self.dead:
            await self._finish(*self.dead.pop())

    async def _finish(self, run_id: str, attempt: int) -> None:
        cost = self.chance.randint(0, 100)
        there = await self.store.interactions.get(MINE, run_id) is not None
        held = await self.store.runs.finish(outcome(run_id, attempt=attempt, usage=charge(run_id, cost)))
        assert held == (self.runs.get(run_id) == attempt)
        if held or not there:  # also a deleted one has been called
            self.costs.setdefault(run_id, cost)
        if held:
            del self.runs[run_id]

    async def end_call(self) -> None:
        if self.calls:
            call_id = self.chance.choice(self.calls)
            cost = self.chance.randint(0, 100)
            for _ in range(self.chance.randint(1, 2)):  # told twice, once it counts
                await self.ledger.write(charge(call_id, cost))
            self.costs[call_id] = cost
            self.calls.remove(call_id)

    async def give_up_call(self) -> None:
        if self.calls:
            await self.budgets.release(self.calls.pop())

    async def take_over(self) -> None:
        for claimed in await self.store.claims(f"own_{self.count}").lapsed():
            self.dead.append((claimed.id, self.runs[claimed.id]))
            self.runs[claimed.id] = claimed.attempt

    async def delete(self) -> None:
        if self.runs:
            run_id = self.chance.choice(sorted(self.runs))
            await self.store.interactions.delete(MINE, run_id)
            self.dead.append((run_id, self.runs.pop(run_id)))

    async def sweep(self) -> None:
        await self.ledger.roll_up()
        await self.budgets.expire()
        for project_id in await self.budgets.untallied():
            await self.budgets.tally(project_id)

    async def step(self) -> None:
        rule = self.chance.choice(
            [
                *(self.begin_run, self.begin_run, self.begin_call, self.begin_call),
                *(self.end_run, self.end_run, self.end_late, self.end_call, self.give_up_call),
                *(self.take_over, self.delete, self.sweep),
            ]
        )
        await rule()

    async def must_add_up(self) -> None:
        """The invariant, at any moment."""

        query = select(usage_ledger.c.call_id, usage_ledger.c.cost)
        rows = await self.store.database.read(lambda connection: connection.execute(query).all())
        assert {row.call_id: row.cost for row in rows} == self.costs
        total = sum(self.costs.values())
        assert sum(each.cost for each in await self.ledger.report(Wanted(), "model")) == total
        await self.budgets.tally(MINE)
        found = {level.budget.id: level for level in await self.budgets.all()}
        assert found["bud_1"].spent == total
        assert found["bud_2"].spent == 10 * len(self.costs)
        assert found["bud_1"].reserved == 100 * len([*self.runs, *self.calls, *self.unsettled()])

    def unsettled(self) -> set[str]:
        """Deleted while they ran, and not heard of since."""
        return {run_id for run_id, _ in self.dead} - set(self.runs) - set(self.costs)


@pytest.mark.parametrize("seed", range(8))
async def test_settled_is_what_was_called_whatever_fails_when(store: Store, seed: int) -> None:
    gateway = Gateway(store, random.Random(seed))
    await gateway.budgets.put(a_budget(1, amount=5000, period="total"), told)
    await gateway.budgets.put(a_budget(2, key_id="key_1", unit="tokens", amount=10**6, period="total"), told)
    for number in range(120):
        await gateway.step()
        if number % 10 == 0:
            await gateway.must_add_up()
    for ending in (gateway.end_run, gateway.end_call, gateway.end_late):
        for _ in range(120):
            await ending()
    while await gateway.ledger.roll_up():
        pass
    await gateway.must_add_up()
    assert len(gateway.costs) > 20
    rolled = select(func.sum(usage_days.c.cost)).where(usage_days.c.label == "")
    cost = await store.database.read(lambda connection: connection.execute(rolled).scalar_one())
    assert int(cost) == sum(gateway.costs.values())
