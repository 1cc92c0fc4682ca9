"""Rows P1, P3, P4, P7 and P8 of the fault list, all at once: `make fault`, in short, on both databases."""

import random
from pathlib import Path

import pytest

from tests.fault.__main__ import summary
from tests.fault.campaign import Campaign
from tests.fault.checker import check
from tests.fault.clients import draw


@pytest.mark.slow
@pytest.mark.timeout(600)
async def test_p1_p3_p4_p7_p8_no_promise_is_broken(database_url: str, tmp_path: Path) -> None:
    """Thirty runs on each database; what was drawn must have happened, or nothing was tried."""
    campaign = Campaign(runs=30, seed=4, at_once=8)
    evidence = await campaign.run(database_url, tmp_path)
    broken = check(evidence)
    told = summary(database_url.partition(":")[0], evidence, broken)
    assert not broken, told
    assert len(evidence.rows) + len(evidence.maybe_deleted) + len(evidence.refused) >= campaign.runs, told
    assert evidence.faults, told
    assert sum(row.status == "completed" for row in evidence.rows) >= campaign.runs // 5, told


def test_plans_are_of_every_kind():
    """What one seed draws is always the same, and leaves nothing out."""
    plans = [draw(random.Random(n), f"run-{n}", agents=True) for n in range(200)]
    assert plans == [draw(random.Random(n), f"run-{n}", agents=True) for n in range(200)]
    kinds = {(plan.stream, plan.background) for plan in plans}
    assert len(kinds) == 4
    for name in ("agent", "continues", "followers", "leaves", "break_after", "cancel_after", "delete_after"):
        assert {bool(getattr(plan, name)) for plan in plans} == {True, False}
