"""Every program of the API's documentation, with the newest SDK, sync and async, on both databases."""

import pytest

from tests.sdk.scenarios import SCENARIOS


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_scenario(scenario, client):
    scenario(client)
