"""A secret that is being changed, and what is made of it: the same in up to three versions."""

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
M = TypeVar("M")


class Versions(NamedTuple, Generic[T]):
    """Everything is made with `current`. What was made with `previous` still counts, and moves on.

    What is made with `coming` counts already: other processes may be further than this one.
    """

    current: T
    previous: T | None = None
    coming: T | None = None

    def map(self, make: Callable[[T], M]) -> "Versions[M]":
        """What is made of each."""
        if self.previous is None and self.coming is None:
            return Versions(make(self.current))
        previous = make(self.previous) if self.previous is not None else None
        return Versions(make(self.current), previous, make(self.coming) if self.coming is not None else None)

    def all(self) -> tuple[T, ...]:
        """Those that there are, the current one first."""
        return (self.current, *(each for each in self[1:] if each is not None))


class Digest(NamedTuple):
    """What is stored instead of a secret, and the fingerprint of the pepper that it was made with."""

    value: bytes
    pepper: bytes
