"""What a program does with the API, one function each, taking a client of the official SDK.

The functions know nothing of pytest and need only the SDK, so that any version of it can run them:
against a gateway, with GOOGLE_GEMINI_BASE_URL and GEMINI_API_KEY set, also by hand as
`python -m tests.sdk.scenarios`. They expect the simulator behind the gateway.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from tests.sdk.scenarios import media, refusals, resources, streaming, talking, tools

Scenario = Callable[[Any], None]


def _of(module: ModuleType) -> list[Scenario]:
    return [
        member
        for name, member in vars(module).items()
        if callable(member) and member.__module__ == module.__name__ and not name.startswith("_")
    ]


SCENARIOS = [
    scenario for module in (talking, media, tools, streaming, resources, refusals) for scenario in _of(module)
]
