"""Usage: tokens, counted the same way every time. Four characters of text are one token."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import orjson

from app.core.model import Json
from app.upstream.simulator.conversation import MEDIA

CHARACTERS_PER_TOKEN = 4
_MEDIUM_TOKENS = 258


def count(text: str) -> int:
    """The tokens of a text."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def of_steps(steps: Iterable[Json]) -> Counter[str]:
    """The tokens of these steps for each modality; what a thought was is not counted again."""
    tokens: Counter[str] = Counter()
    for step in steps:
        if step["type"] in ("user_input", "model_output"):
            tokens += _of_contents(step.get("content", []))
        elif step["type"] == "function_result":
            tokens += _of_contents(step["result"])
        elif step["type"] != "thought":
            tokens["text"] += _of_value({**step, "signature": ""})
    return tokens


def of_fields(*values: object) -> int:
    """The tokens of request fields that a model reads as text, such as the tools."""
    return sum(_of_value(value) for value in values if value)


def report(given: Counter[str], made: Counter[str], *, tool_use: int, thought: int) -> Json:
    """The `usage` object of an interaction."""
    spent = given.total() + made.total() + tool_use + thought
    return {
        "total_tokens": spent,
        "total_input_tokens": given.total(),
        "input_tokens_by_modality": _by_modality(given),
        "total_cached_tokens": 0,
        "total_output_tokens": made.total(),
        "output_tokens_by_modality": _by_modality(made),
        "total_tool_use_tokens": tool_use,
        "tool_use_tokens_by_modality": _by_modality(Counter(text=tool_use)),
        "total_thought_tokens": thought,
    }


def _of_contents(value: object) -> Counter[str]:
    tokens: Counter[str] = Counter()
    items: list[Any] = value if isinstance(value, list) else [value]
    for item in items:
        content: Json = item if isinstance(item, dict) else {}
        if content.get("type") in MEDIA:
            tokens[content["type"]] += _MEDIUM_TOKENS
        else:
            tokens["text"] += _of_value(content.get("text", item))
    return tokens


def _of_value(value: object) -> int:
    return count(value if isinstance(value, str) else orjson.dumps(value).decode())


def _by_modality(tokens: Counter[str]) -> list[Json]:
    return [{"modality": name, "tokens": number} for name, number in tokens.items() if number]
