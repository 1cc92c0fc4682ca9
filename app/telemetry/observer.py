"""The moments that somebody may want to count or to trace. An observer changes nothing."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

_NOTHING = nullcontext()
Headers = Sequence[tuple[bytes, bytes]]


class Facts(NamedTuple):
    """Which interaction it is about. Names of a model and an agent are the client's words."""

    id: str
    conversation: str
    model: str | None
    agent: str | None
    upstream: str


class Observer:
    """Is told what happens; this one does nothing."""

    def request(self, method: str, route: str, status: int) -> None:
        """A request has been answered; `route` is a template, not a path."""

    def asked(self, headers: Headers) -> AbstractContextManager[None]:  # noqa: ARG002 - for those who listen
        """While a request is being handled."""
        return _NOTHING

    def running(self, facts: Facts) -> AbstractContextManager[None]:  # noqa: ARG002 - as above
        """While an interaction runs, in the task that runs it."""
        return _NOTHING

    def calling(self, upstream: str, facts: Facts | None = None) -> AbstractContextManager[None]:  # noqa: ARG002
        """While an upstream is asked, for an interaction or for something that is passed on."""
        return _NOTHING

    def heard(self, seconds: float) -> None:
        """The first event of a run has come, so long after its beginning."""

    def ended(self, facts: Facts, status: str, seconds: float, usage: Mapping[str, Any] | None) -> None:
        """A run has ended in this process."""

    def took_up(self, course: str) -> None:
        """A run has been taken over from another process, or from the queue."""

    def swept(self) -> None:
        """A sweep has been done to its end."""

    def erased(self, interactions: int) -> None:
        """So many interactions were erased because they had expired."""

    def committed(self, writes: int, seconds: float) -> None:
        """So many writes have shared a transaction. Told by the thread that writes."""


QUIET = Observer()
"""Where nobody listens."""
