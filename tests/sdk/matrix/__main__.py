"""Run the scenarios with the SDK that is installed, through both of its clients; a JSON line for each.

    python -m tests.sdk.matrix [--left JSON] [word ...]    the scenarios with one of these words in the name
    python -m tests.sdk.matrix --leave                     leave a conversation for the other generation

GOOGLE_GEMINI_BASE_URL and GEMINI_API_KEY say where the gateway is.
"""

import argparse
import asyncio
import json
import traceback
from collections.abc import Callable
from typing import Any

from google import genai

from tests.sdk.blocking import BlockingClient
from tests.sdk.matrix.reading import Missing
from tests.sdk.matrix.scenarios import SCENARIOS, Sdk, leave


class Installed:
    """The SDK of this environment, through one of its two clients."""

    def __init__(self, left: dict[str, str], runner: asyncio.Runner | None = None) -> None:
        self.left = left
        self._runner = runner
        self._open: list[Any] = []
        self.client = self.connect()

    def connect(self, key: str | None = None, **options: Any) -> Any:
        """A client; whatever is not said is taken from the environment."""
        given: dict[str, Any] = {"api_key": key} if key else {}
        if options:
            given["http_options"] = options
        made = genai.Client(**given)
        self._open.append(made)  # one that nobody holds closes its connections
        return made if self._runner is None else BlockingClient(made, self._runner)


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--leave", action="store_true")
    parser.add_argument("--left", type=json.loads, default={})
    parser.add_argument("words", nargs="*")
    given = parser.parse_args()
    if given.leave:
        _say(leave(Installed({})))
        return
    with asyncio.Runner() as runner:
        ways = {"sync": Installed(given.left), "async": Installed(given.left, runner)}
        for scenario in SCENARIOS:
            name = scenario.__name__
            if not given.words or any(word in name for word in given.words):
                _say({"name": name, **_judged(scenario, ways)})


def _judged(scenario: Callable[[Sdk], None], ways: dict[str, Installed]) -> dict[str, str]:
    for way, sdk in ways.items():
        try:
            scenario(sdk)
        except Missing as missing:
            return {"result": "skipped", "detail": str(missing)}
        except Exception:  # noqa: BLE001 - told, then the next
            return {"result": "failed", "detail": f"{way}: {traceback.format_exc()}"}
    return {"result": "ok", "detail": ""}


def _say(line: dict[str, str]) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201


main()
