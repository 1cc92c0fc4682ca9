"""The benchmark works: what it says is not looked at here, a loaded machine would make it a coin toss."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.gateway import clean_environment


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_it_measures_every_place_without_a_failure():
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--short"],
        cwd=Path(__file__).parents[1],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for table in ("unary calls", "paced streams", "streams without a pause"):
        assert table in done.stdout
    for place in ("upstream, directly", "sqlite, store: false", "sqlite, stored"):
        rates = re.findall(rf"^\| {place} +\| +\d+ \| +([\d,]+) \|", done.stdout, re.MULTILINE)
        assert len(rates) == 4, done.stdout
        assert all(int(rate.replace(",", "")) > 0 for rate in rates)
