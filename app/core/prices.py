"""Prices: what a model's tokens cost on a day, by a table that people can read.

Inside, money is whole numbers: prices in trillionths of a US dollar, costs in millionths. A model that
the table does not name has no price, which is not the same as none to pay.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any

from app.core.usage import Usage

_EPOCH = 719_163
"""The ordinal of 1 January 1970: days are counted from there."""
_TRILLIONTHS = 1_000_000
"""So many of them are a millionth of a dollar; and a dollar for a million tokens is so many for each."""
_WAYS = ("input", "output")
_RATES = frozenset(
    {
        *("input", "cached", "output", "grounding"),
        *(
            f"{kind}_{modality}"
            for kind in ("input", "cached", "output")
            for modality in ("audio", "image", "video")
        ),
    }
)


class BadPrices(ValueError):
    """The table cannot be read; the message says where."""


@dataclass(frozen=True, slots=True)
class Price:
    """What some models cost from a day on; more than `long_above` tokens of input cost the long rates."""

    models: tuple[str, ...]
    since: int
    rates: Mapping[str, int]
    long_above: int | None
    long_rates: Mapping[str, int]

    def cost(self, usage: Usage) -> int:
        """In millionths of a US dollar."""
        rates = self._rates(usage.input_tokens)
        given = usage.input_tokens - usage.cached_tokens
        cached, made = usage.modalities.get("cached", {}), usage.modalities.get("output", {})
        fresh = {
            name: max(0, count - cached.get(name, 0))
            for name, count in usage.modalities.get("input", {}).items()
        }
        trillionths = (
            _part(rates, "input", given, fresh)
            + _part(rates, "cached", usage.cached_tokens, cached)
            + _part(rates, "output", usage.output_tokens, made)
            + rates["input"] * usage.tool_use_tokens
            + rates["output"] * usage.thought_tokens
            + rates.get("grounding", 0) * usage.grounding_calls
        )
        return (trillionths + _TRILLIONTHS // 2) // _TRILLIONTHS

    def most(self, given: int, made: int) -> int:
        """The most that so many tokens of input and output cost, of whichever modality; in millionths."""
        rates = self._rates(given)
        dearest = (max(rates[name] for name in rates if name.startswith(kind)) for kind in _WAYS)
        trillionths = sum(rate * count for rate, count in zip(dearest, (given, made), strict=True))
        return -(-trillionths // _TRILLIONTHS)

    def _rates(self, given: int) -> Mapping[str, int]:
        long = self.long_above is not None and given > self.long_above
        return {**self.rates, **self.long_rates} if long else self.rates


def _part(rates: Mapping[str, int], kind: str, tokens: int, modalities: Mapping[str, int]) -> int:
    """The tokens of one kind: those of a modality with a price of its own by that, others by the kind's."""
    general = rates.get(kind, rates["input"])
    sum_, left = 0, tokens
    for name, count in modalities.items():
        if (rate := rates.get(f"{kind}_{name}")) is not None:
            counted = min(count, left)
            sum_ += rate * counted
            left -= counted
    return sum_ + general * left


@dataclass(frozen=True, slots=True)
class Prices:
    """The table. `default_output` is how many tokens a call is taken to make that has set itself no limit.

    In a batch things cost `batch_percent` of their price.
    """

    prices: tuple[Price, ...]
    default_output: int
    batch_percent: int = 100

    def find(self, model: str, day: int) -> Price | None:
        """What this model costs on this day: by the longest name that fits, then by the newest price."""
        best, found = (-1, -1), None
        for price in self.prices:
            if price.since <= day:
                fitting = [len(name) for name in price.models if fnmatchcase(model, name)]
                if fitting and (rank := (max(fitting), price.since)) > best:
                    best, found = rank, price
        return found

    def in_batch(self, cost: int) -> int:
        """What it costs in a batch."""
        return (cost * self.batch_percent + 50) // 100


def parse(text: str) -> Prices:
    """The table in this TOML text. Raises BadPrices."""
    try:
        told = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise BadPrices(str(error)) from None
    default, percent = told.pop("default_output", 4096), told.pop("batch_percent", 100)
    if not isinstance(default, int) or default < 1:
        raise BadPrices("'default_output' must be a number of tokens")
    if not isinstance(percent, int) or not 0 <= percent <= 100:
        raise BadPrices("'batch_percent' must be a number from 0 to 100")
    entries = told.pop("prices", [])
    if told or not isinstance(entries, list):
        raise BadPrices(f"there is no '{min(told, default='prices')}' in a price table")
    return Prices(
        tuple(_price(number, entry) for number, entry in enumerate(entries, start=1)), default, percent
    )


def _price(number: int, entry: Any) -> Price:
    try:
        return _read(dict(entry))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        needs = f"needs models, since (a date), input and output ({error})"
        why = error if isinstance(error, BadPrices) else needs
        raise BadPrices(f"price {number}: {why}") from None


def _read(entry: dict[str, Any]) -> Price:
    models, since = tuple(entry.pop("models")), entry.pop("since").toordinal() - _EPOCH
    above, long = entry.pop("long_above", None), _rates(entry.pop("long", {}))
    rates = _rates(entry)
    if not models or not all(isinstance(name, str) for name in models):
        raise BadPrices("'models' must be a list of names")
    if not {"input", "output"} <= rates.keys():
        raise BadPrices("'input' and 'output' must be there")
    if above is not None and not isinstance(above, int):
        raise BadPrices("'long_above' must be a number of tokens")
    return Price(models, since, rates, above, long)


def _rates(told: Mapping[str, object]) -> Mapping[str, int]:
    return {name: _rate(name, value) for name, value in told.items()}


def _rate(name: str, value: object) -> int:
    if name not in _RATES:
        raise BadPrices(f"there is no '{name}'")
    number = (
        Decimal(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else Decimal(-1)
    )
    if not number.is_finite() or not 0 <= number < _TRILLIONTHS:
        raise BadPrices(f"'{name}' must be an amount in US dollars")
    # Grounding is priced by the thousand, tokens by the million.
    return int(number * _TRILLIONTHS * (1000 if name == "grounding" else 1))
