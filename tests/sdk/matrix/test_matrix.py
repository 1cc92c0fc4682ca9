"""Real clients of all versions do the same things, and docs/compatibility.md says what came of it."""

import pytest

from tests.sdk.matrix import table
from tests.sdk.matrix.running import RUNS, Matrix, Run
from tests.sdk.matrix.scenarios import SCENARIOS
from tests.sdk.matrix.versions import VERSIONS, Version

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]  # the first time, everything is installed


@pytest.mark.parametrize("run", RUNS, ids=str)
def test_every_scenario(run: Run, matrix: Matrix):
    _needs(run.version)
    outcomes = matrix.start(run).result()
    failed = [outcome for outcome in outcomes if outcome.result not in {"ok", "skipped"}]
    assert not failed, "\n\n".join(f"{outcome.name}\n{outcome.detail}" for outcome in failed)
    assert [outcome.name for outcome in outcomes] == [scenario.__name__ for scenario in SCENARIOS]


def test_the_table_of_compatibility_is_up_to_date(matrix: Matrix, request: pytest.FixtureRequest):
    for version in VERSIONS:
        _needs(version)
    coming = {run.version: matrix.start(run) for run in RUNS if run.database == "sqlite"}
    made = table.table({version: outcomes.result() for version, outcomes in coming.items()})
    if request.config.getoption("--write-compatibility", default=False):
        table.write(made)
    assert table.committed() == made, "pytest tests/sdk/matrix --write-compatibility writes it again"


def _needs(version: Version) -> None:
    if not version.runs_here:
        pytest.skip(f"NO NODE: {version} is not tried")
