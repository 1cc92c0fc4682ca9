"""The machine on both databases: briefly here, and always in the same way; `make fuzz` lets it search."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.fault.campaign import upstream
from tests.machine.machine import Machine
from tests.support.gateway import Gateway

_QUICK = {
    "GATEWAY_RUNS__LEASE": "3",
    "GATEWAY_RUNS__HEARTBEAT": "0.5",
    "GATEWAY_RUNS__POLL": "0.2",
    "GATEWAY_RETENTION__SWEEP_SECONDS": "3600",
}


def extent() -> settings:
    """A few sequences of calls; many and longer ones when the profile is one that searches."""
    chosen = settings.default
    assert chosen is not None
    examples, steps = (6, 16) if chosen.derandomize else (100, 40)
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        phases=[Phase.generate],  # what depends on the moment does not shrink
        suppress_health_check=[*HealthCheck],
        deadline=None,
    )


@pytest.mark.slow
@pytest.mark.timeout(3600)  # a search takes its time; every call in it has a limit of its own
def test_p1_p6_d1_any_sequence_of_calls_and_faults(database_url: str, tmp_path: Path) -> None:
    with upstream(tmp_path) as (url, _):
        where = [{"name": "counting", "kind": "interactions", "base_url": url, "api_keys": ["k"]}]
        gateway = Gateway(tmp_path, database_url, **_QUICK, GATEWAY_UPSTREAMS=json.dumps(where))
        try:

            class Here(Machine):
                def __init__(self) -> None:
                    super().__init__(gateway)

            run_state_machine_as_test(Here, settings=extent())
        finally:
            gateway.kill()
