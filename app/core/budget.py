"""Budgets: how much a project or a key may spend, and what a call is taken to cost beforehand."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from app.core.prices import Price

DAY, MONTH, TOTAL = "day", "month", "total"
Period = Literal["day", "month", "total"]
MONEY, TOKENS = "money", "tokens"
UNITS = (MONEY, TOKENS)
THRESHOLDS = (50, 80, 100)
"""Percent of a budget at which somebody is told."""

_BYTES_PER_TOKEN = 4
_CONTEXT = 1_000_000
"""No model reads more: what an input that is mostly a picture in base64 is taken for at most."""


@dataclass(frozen=True, slots=True)
class Budget:
    """An amount for each period, of tokens or of millionths of a dollar; of the whole project, or one key.

    A hard one refuses calls that may not fit; a soft one only tells.
    """

    id: str
    project_id: str
    key_id: str | None
    period: str
    unit: str
    amount: int
    hard: bool
    alert_url: str | None
    created_at: int

    def takes(self, bill: "Bill") -> int | None:
        """What a call takes from this budget; None where its cost is not known."""
        return bill.tokens if self.unit == TOKENS else bill.cost

    def shown(self) -> str:
        """The budget as a client is told of it."""
        owner = "project" if self.key_id is None else "key"
        period = {DAY: "daily ", MONTH: "monthly ", TOTAL: ""}[self.period]
        return f"the {owner}'s {period}budget of {shown(self.unit, self.amount)} ({self.id})"


class Bill(NamedTuple):
    """What a call takes, or may take; `cost` is None for a model without a price."""

    tokens: int
    cost: int | None


NOTHING = Bill(0, 0)


def shown(unit: str, amount: int) -> str:
    """An amount, for people."""
    if unit == TOKENS:
        return f"{amount} tokens"
    dollars, rest = divmod(amount, 1_000_000)
    return f"${dollars}.{rest:06}".rstrip("0").ljust(len(f"${dollars}.00"), "0")


def estimate(price: Price | None, size: int, most_output: Sequence[object], default_output: int) -> Bill:
    """What a call may take that sends `size` bytes.

    `most_output` has the limit of output of each of its requests, as the request says it, if it does; it
    is empty where nothing but numbers is answered.
    """
    made = _most_made(most_output, default_output)
    given = min(size // _BYTES_PER_TOKEN + 1, _CONTEXT * max(1, len(most_output)))
    return Bill(given + made, price.most(given, made) if price is not None else None)


def seen(price: Price | None, heard: int, most_output: Sequence[object], default_output: int) -> Bill:
    """What a call is taken to have used that broke off when so many bytes of its answer had come.

    What it was sent does not count: nobody has got anything for that.
    """
    made = min(-(-heard // _BYTES_PER_TOKEN), _most_made(most_output, default_output))
    return Bill(made, price.most(0, made) if price is not None else None)


def _most_made(most_output: Sequence[object], default_output: int) -> int:
    return sum(
        min(most if isinstance(most, int) and most > 0 else default_output, _CONTEXT) for most in most_output
    )


def crossed(amount: int, spent: int, told: int) -> tuple[int, ...]:
    """The thresholds that have been reached and not been told of; `told` is the highest that was."""
    return tuple(each for each in THRESHOLDS if told < each and spent * 100 >= amount * each)
