"""The one seam to anything that answers: a turn in, events out."""

from collections.abc import AsyncGenerator
from typing import Protocol

from app.core.events import Event
from app.core.model import Kept, Request, Turn


class Adapter(Protocol):
    """Speaks one upstream's protocol."""

    name: str
    """The alias from the settings: the only thing of an upstream that a client may be told."""

    def run(self, turn: Turn) -> AsyncGenerator[Event, None]:
        """Call the upstream and yield its events as they arrive, in the steps schema.

        Ids in the events are the upstream's; the engine puts ours. `turn.request.stream` tells
        whether the caller wants the events while they happen. Raises ApiError when the upstream
        refuses or cannot be reached; closing the iterator ends the upstream's work, unless the
        upstream keeps the run. Then the first event, `interaction.created`, has its id there, and
        `turn.kept` takes it up again: no event comes twice, nor any that `turn.told` has.
        """
        ...

    def keeps(self, request: Request) -> bool:
        """Whether the upstream keeps runs of such requests, so that they outlive the connection."""
        ...

    async def cancel(self, kept: Kept) -> None:
        """End a kept run's work at the upstream; one that has ended or is gone is none. Raises ApiError."""
        ...

    async def forget(self, kept: Kept) -> None:
        """Delete what the upstream keeps of a run; what is gone is gone. Raises ApiError."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...
