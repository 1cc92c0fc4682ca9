"""Directives: what a user text can order the simulator to do.

    [[sim tokens=60 delay_ms=100 fail_after=20]]

    tokens=N        the answer's text comes in N deltas (of one token each, unless it is longer)
    thoughts=N      the thought has N summaries; 0: there is no thought
    delay_ms=N      a pause before each delta
    status=N        answer with this HTTP status; retry_after=N adds the header
    hang            never answer
    hang_after=N    N events, then silence
    error_after=N   N events, then an `error` event
    fail_after=N    N events, then the connection breaks
    drop_after=N    N events, then the stream ends as if it were whole

N events are counted as a stream sends them, `interaction.created` first, and the earliest failure
happens; an answer that has fewer events ends as usual. A unary answer fails whatever N is.
"""

import re
from dataclasses import dataclass

from app.errors import InvalidRequest

_DIRECTIVE = re.compile(r"\[\[sim(?=[\s\]])([^\[\]]*)\]\]")
_MAX_EVENTS = 1_000_000
_BOUNDS = {
    "tokens": (1, 100_000),
    "thoughts": (0, 1_000),
    "delay_ms": (0, 600_000),
    "status": (400, 599),
    "retry_after": (0, 86_400),
    "hang_after": (0, _MAX_EVENTS),
    "error_after": (0, _MAX_EVENTS),
    "fail_after": (0, _MAX_EVENTS),
    "drop_after": (0, _MAX_EVENTS),
}


@dataclass(frozen=True, slots=True)
class Directives:
    """What one request was ordered to do; None is no order."""

    tokens: int | None = None
    thoughts: int | None = None
    delay_ms: int = 0
    status: int | None = None
    retry_after: int | None = None
    hang_after: int | None = None
    error_after: int | None = None
    fail_after: int | None = None
    drop_after: int | None = None


def parse(text: str) -> Directives:
    """The directives in this text. Raises InvalidRequest, naming the word that is not one."""
    orders: dict[str, int] = {}
    for found in _DIRECTIVE.findall(text):
        for word in found.split():
            name, value = _order(word)
            if name in orders:
                raise InvalidRequest(f"The simulator directive '{name}' is given twice.")
            orders[name] = value
    if "retry_after" in orders and "status" not in orders:
        raise InvalidRequest("The simulator directive 'retry_after' needs 'status'.")
    return Directives(**orders)


def without(text: str) -> str:
    """The text as it was meant for the model."""
    return _DIRECTIVE.sub("", text).strip() if "[[sim" in text else text


def _order(word: str) -> tuple[str, int]:
    if word == "hang":
        return "hang_after", 0
    name, _, value = word.partition("=")
    if name not in _BOUNDS:
        raise InvalidRequest(f"The simulator directive '{word[:60]}' is not known.")
    least, most = _BOUNDS[name]
    if not re.fullmatch(r"[0-9]{1,9}", value) or not least <= int(value) <= most:
        raise InvalidRequest(
            f"The simulator directive '{word[:60]}' needs a whole number from {least} to {most}.",
        )
    return name, int(value)
