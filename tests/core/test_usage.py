"""Usage and prices: whatever an upstream says becomes a count, and money is whole."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core import prices, usage
from app.core.budget import Bill, crossed, estimate, shown
from app.core.prices import BadPrices
from app.core.usage import MOST, Usage

TABLE = """
[[prices]]
models = ["m-*"]
since = 2026-01-01
input = 1.25
cached = 0.125
output = 10
output_image = 100
grounding = 14
long_above = 1000
long = { input = 2.50 }

[[prices]]
models = ["m-*"]
since = 2026-06-01
input = 1
output = 2

[[prices]]
models = ["m-lite"]
since = 2026-01-01
input = 0.1
output = 0.4
input_audio = 1
"""
JANUARY, JULY = 20_454, 20_635
WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
NAMES = (
    *(f"total_{kind}tokens" for kind in ("", "input_", "cached_", "output_", "thought_", "tool_use_")),
    *("input_tokens_by_modality", "grounding_tool_count", "promptTokenCount", "candidatesTokensDetails"),
)


def cost_of(model: str, used: Usage, day: int) -> int | None:
    price = prices.parse(TABLE).find(model, day)
    return price.cost(used) if price is not None else None


def test_an_interaction_says_what_it_used() -> None:
    said = {
        "total_tokens": 112,
        "total_input_tokens": 54,
        "input_tokens_by_modality": [{"modality": "text", "tokens": 50}, {"modality": "IMAGE", "tokens": 4}],
        "total_cached_tokens": 20,
        "total_output_tokens": 8,
        "total_thought_tokens": 40,
        "total_tool_use_tokens": 10,
        "grounding_tool_count": [{"type": "google_search", "count": 2}, {"type": "google_maps", "count": 1}],
    }
    modalities = {"input": {"text": 50, "image": 4}}
    assert usage.of_interaction(said) == Usage(54, 20, 8, 40, 10, 112, 3, modalities)


def test_generate_content_says_it_in_other_words() -> None:
    said = {
        "promptTokenCount": 54,
        "cachedContentTokenCount": 20,
        "candidatesTokenCount": 8,
        "thoughtsTokenCount": 40,
        "toolUsePromptTokenCount": 10,
        "totalTokenCount": 112,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 54}],
    }
    assert usage.of_generate_content(said, 2) == Usage(54, 20, 8, 40, 10, 112, 2, {"input": {"text": 54}})


@given(st.dictionaries(st.sampled_from(NAMES), WILD) | WILD)
def test_u13_whatever_is_said_the_counts_are_sane(said: object) -> None:
    for found in (usage.of_interaction(said), usage.of_generate_content(said)):
        counts = (found.input_tokens, found.cached_tokens, found.output_tokens, found.total_tokens)
        assert all(type(count) is int and 0 <= count <= MOST for count in counts)
        assert found.cached_tokens <= found.input_tokens
        assert cost_of("m-1", found, JANUARY) >= 0  # type: ignore[operator]


@pytest.mark.parametrize("said", [None, [], "many", {"total_tokens": -5}, {"total_input_tokens": True}])
def test_u13_nothing_sensible_is_nothing(said: object) -> None:
    assert usage.of_interaction(said) == usage.NOTHING


def test_without_a_total_it_is_the_sum() -> None:
    said = {"total_input_tokens": 10, "total_cached_tokens": 4, "total_output_tokens": 2}
    assert usage.of_interaction(said).total_tokens == 12


@pytest.mark.parametrize(
    ("model", "used", "day", "cost"),
    [
        ("m-1", Usage(input_tokens=100, cached_tokens=40, output_tokens=10), JANUARY, 75 + 5 + 100),
        ("m-1", Usage(thought_tokens=3, tool_use_tokens=4), JANUARY, 30 + 5),
        ("m-1", Usage(output_tokens=10, modalities={"output": {"image": 4, "text": 6}}), JANUARY, 400 + 60),
        ("m-1", Usage(output_tokens=10, modalities={"output": {"image": 99}}), JANUARY, 1000),
        ("m-1", Usage(grounding_calls=2), JANUARY, 28_000),
        ("m-1", Usage(input_tokens=1001), JANUARY, 2503),
        ("m-1", Usage(input_tokens=100, output_tokens=10), JULY, 120),
        ("m-1", Usage(input_tokens=100), JANUARY - 1, None),
        ("m-lite", Usage(input_tokens=100, output_tokens=10), JULY, 14),
        ("m-lite", Usage(input_tokens=10, modalities={"input": {"audio": 4}}), JULY, 5),
        ("other", Usage(input_tokens=100), JULY, None),
        (None, Usage(input_tokens=100), JULY, None),
    ],
)
def test_the_price_of_the_day_counts(model: str | None, used: Usage, day: int, cost: int | None) -> None:
    assert cost_of(model or "", used, day) == cost


def test_no_cent_is_lost_to_floats() -> None:
    """A third of the prices people write cannot be a float: 0.1 three times is not 0.3."""
    one = [cost_of("m-lite", Usage(input_tokens=10), JULY) for _ in range(1000)]
    assert sum(filter(None, one)) == Decimal("0.1") * 10 * 1000


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("prices = 3", "prices"),
        ("[[prices]]\nmodels = ['m']", "price 1"),
        ("[[prices]]\nmodels = ['m']\nsince = 2026-01-01\ninput = -1\noutput = 1", "'input'"),
        ("[[prices]]\nmodels = ['m']\nsince = 2026-01-01\ninput = nan\noutput = 1", "'input'"),
        (
            "[[prices]]\nmodels = ['m']\nsince = 2026-01-01\ninput = 1\noutput = 1\noutptu_image = 1",
            "outptu_image",
        ),
        ("[[prices]]\nmodels = ['m']\nsince = '2026-01-01'\ninput = 1\noutput = 1", "since"),
        ("[[prices]]\nmodels = []\nsince = 2026-01-01\ninput = 1\noutput = 1", "models"),
        ("default_output = 0", "default_output"),
        ("batch_percent = 101", "batch_percent"),
        ("typo = 1", "typo"),
        ("not toml", "line 1"),
    ],
)
def test_w1_a_table_that_is_wrong_says_where(text: str, complaint: str) -> None:
    with pytest.raises(BadPrices, match=complaint):
        prices.parse(text)


def test_an_estimate_is_the_input_and_the_most_that_may_come() -> None:
    price = prices.parse(TABLE).find("m-1", JULY)
    assert estimate(price, 400, [50], 4096) == Bill(tokens=151, cost=201)
    assert estimate(price, 400, [None], 4096).tokens == 101 + 4096
    assert estimate(price, 400, ["many"], 4096).tokens == 101 + 4096
    assert estimate(price, 400, [50, None, 7], 1000).tokens == 101 + 1057
    assert estimate(price, 400, [], 4096) == Bill(tokens=101, cost=101)
    assert estimate(None, 400, [50], 4096) == Bill(tokens=151, cost=None)
    assert estimate(price, 10**9, [10**12], 4096).tokens == 2_000_000


@given(
    st.sampled_from(["m-1", "m-lite"]),
    st.integers(0, 3000),
    st.integers(0, 3000),
    st.dictionaries(st.sampled_from(["text", "image", "audio"]), st.integers(0, 3000)),
)
def test_no_usage_within_the_estimate_costs_more(
    model: str, given_: int, made: int, kinds: dict[str, int]
) -> None:
    """Whatever its tokens are of: an image may cost ten times as much as a text."""
    price = prices.parse(TABLE).find(model, JANUARY)
    assert price is not None
    thought = made // 3
    used = Usage(given_, 0, made - thought, thought, modalities={"input": kinds, "output": kinds})
    assert price.cost(used) <= price.most(given_, made)


def test_in_a_batch_things_cost_a_part_of_their_price() -> None:
    assert prices.parse("batch_percent = 50").in_batch(31) == 16
    assert prices.parse("").in_batch(31) == 31


def test_thresholds() -> None:
    assert crossed(100, 49, 0) == ()
    assert crossed(100, 50, 0) == (50,)
    assert crossed(100, 300, 50) == (80, 100)
    assert crossed(100, 300, 100) == ()


@pytest.mark.parametrize(
    ("amount", "text"),
    [(0, "$0.00"), (1, "$0.000001"), (12_500_000, "$12.50"), (1_000_000, "$1.00"), (70, "$0.00007")],
)
def test_money_is_shown_as_money(amount: int, text: str) -> None:
    assert shown("money", amount) == text
