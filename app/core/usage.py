"""Usage: what a call has used, from whatever an upstream says of it.

Upstreams forget it, and some exaggerate: what is kept is never negative, and never absurd.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

MOST = 1_000_000_000
"""More tokens than any call has."""

BATCHES = frozenset({"batchGenerateContent", "asyncBatchEmbedContent"})
"""The methods that begin a batch."""

_MODALITIES = frozenset({"text", "image", "audio", "video", "document"})


class Usage(NamedTuple):
    """Tokens by kind. What was cached is a part of the input; thoughts are no part of the output.

    `modalities` has those of input, cached and output once more, as far as the upstream told them.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    thought_tokens: int = 0
    tool_use_tokens: int = 0
    total_tokens: int = 0
    grounding_calls: int = 0
    modalities: Mapping[str, Mapping[str, int]] = MappingProxyType({})


NOTHING = Usage()
COUNTED = tuple(name for name in Usage._fields if name != "modalities")
"""The names of what is counted."""


def of_interaction(said: object) -> Usage:
    """Of the `usage` object of an interaction."""
    if not isinstance(said, dict):
        return NOTHING
    searches = said.get("grounding_tool_count")
    return _usage(
        said,
        _INTERACTION,
        sum(_count(each.get("count")) for each in _objects(searches)) if searches else 0,
        "tokens",
    )


def of_generate_content(said: object, searches: int = 0) -> Usage:
    """Of the `usageMetadata` of generateContent and its like; the calls of grounding stand elsewhere."""
    if not isinstance(said, dict):
        return NOTHING if not searches else Usage(grounding_calls=_count(searches))
    return _usage(said, _GENERATE_CONTENT, searches, "tokenCount")


def searches_of(answer: object) -> int:
    """How often the answer of generateContent says that it searched."""
    candidates = answer.get("candidates") if isinstance(answer, dict) else None
    found = (each.get("groundingMetadata") for each in _objects(candidates))
    queries = (each.get("webSearchQueries") for each in found if isinstance(each, dict))
    return sum(len(each) for each in queries if isinstance(each, list))


def together(all_: Sequence[Usage]) -> Usage:
    """What several requests have used."""
    if len(all_) == 1:
        return all_[0]
    modalities: dict[str, Counter[str]] = {}
    for each in all_:
        for kind, found in each.modalities.items():
            modalities.setdefault(kind, Counter()).update(found)
    counts = {name: min(MOST, sum(getattr(each, name) for each in all_)) for name in COUNTED}
    return Usage(**counts, modalities=modalities)


class _Names(NamedTuple):
    """What an upstream calls what `Usage` has; `modalities` are of input, cached and output."""

    input: str
    cached: str
    output: str
    thought: str
    tool_use: str
    total: str
    modalities: tuple[tuple[str, str], ...]


_INTERACTION = _Names(
    "total_input_tokens",
    "total_cached_tokens",
    "total_output_tokens",
    "total_thought_tokens",
    "total_tool_use_tokens",
    "total_tokens",
    (
        ("input", "input_tokens_by_modality"),
        ("cached", "cached_tokens_by_modality"),
        ("output", "output_tokens_by_modality"),
    ),
)
_GENERATE_CONTENT = _Names(
    "promptTokenCount",
    "cachedContentTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "toolUsePromptTokenCount",
    "totalTokenCount",
    (
        ("input", "promptTokensDetails"),
        ("cached", "cacheTokensDetails"),
        ("output", "candidatesTokensDetails"),
    ),
)


def _usage(said: Mapping[str, object], names: _Names, grounding: int, count: str) -> Usage:
    given, made = _count(said.get(names.input)), _count(said.get(names.output))
    cached = min(_count(said.get(names.cached)), given)
    thought, tool_use = _count(said.get(names.thought)), _count(said.get(names.tool_use))
    return Usage(
        given,
        cached,
        made,
        thought,
        tool_use,
        _count(said.get(names.total)) or min(MOST, given + made + thought + tool_use),
        min(grounding, 1_000_000),
        {
            kind: found
            for kind, name in names.modalities
            if (told := said.get(name)) and (found := _by_modality(told, count))
        },
    )


def _count(said: object) -> int:
    """A count as it may be: a number from 0 to MOST."""
    if type(said) is int and 0 <= said <= MOST:  # as it nearly always is
        return said
    if isinstance(said, bool) or not isinstance(said, int | float):
        return 0
    if not said > 0:  # also what is not a number at all
        return 0
    return int(min(said, MOST))


def _by_modality(said: object, field_name: str) -> Mapping[str, int]:
    """The tokens of the modalities that this version knows; of others only the sum is."""
    found: dict[str, int] = {}
    for each in _objects(said):
        name = str(each.get("modality")).lower()
        if name in _MODALITIES and (count := _count(each.get(field_name))):
            found[name] = min(MOST, found.get(name, 0) + count)
    return found


def _objects(said: object) -> Iterator[dict[str, Any]]:
    for each in said if isinstance(said, list) else []:
        if isinstance(each, dict):
            yield each
