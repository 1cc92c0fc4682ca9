"""The parts of the store that runs are kept in, as one thing to hand around."""

from typing import NamedTuple

from app.store.claims import Claims
from app.store.interactions import Interactions
from app.store.runs import Runs


class Books(NamedTuple):
    """What is known of interactions, what their runs write, and who runs them."""

    interactions: Interactions
    runs: Runs
    claims: Claims
