"""Run the scenarios whose names contain a word given as argument, or all of them."""

import sys
import traceback

from google import genai

from tests.sdk.scenarios import SCENARIOS

client = genai.Client()
words = sys.argv[1:]
failed = 0
for scenario in SCENARIOS:
    if words and not any(word in scenario.__name__ for word in words):
        continue
    try:
        scenario(client)
    except Exception:  # noqa: BLE001 - told, then the next
        failed += 1
        print("FAILED", scenario.__name__)  # noqa: T201
        traceback.print_exc()
    else:
        print("ok    ", scenario.__name__)  # noqa: T201
sys.exit(failed > 0)
