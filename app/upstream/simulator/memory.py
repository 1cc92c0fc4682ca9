"""The memory of the server: the latest stored interactions."""

from collections import OrderedDict

from app import ids
from app.errors import InvalidRequest, NotFound
from app.upstream.simulator.run import Run


class Memory:
    """At most `capacity` runs; the ones that were used least recently are forgotten."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._runs: OrderedDict[str, Run] = OrderedDict()

    def keep(self, run: Run) -> None:
        """Remember this run."""
        self._runs[run.resource.id] = run
        while len(self._runs) > self._capacity:
            self._runs.popitem(last=False)[1].cancel()

    def find(self, interaction_id: str) -> Run:
        """The run with this id. Raises InvalidRequest when it is malformed, NotFound when absent."""
        if not ids.is_interaction_id(interaction_id):
            raise InvalidRequest(f"Invalid interaction name: interactions/{interaction_id[:200]}")
        if interaction_id not in self._runs:
            raise NotFound(f"Interaction not found: interactions/{interaction_id}")
        self._runs.move_to_end(interaction_id)
        return self._runs[interaction_id]

    def forget(self, interaction_id: str) -> None:
        """Forget the run with this id, and stop it. Raises as `find` does."""
        self.find(interaction_id).cancel()
        del self._runs[interaction_id]

    def close(self) -> None:
        """Stop what still runs."""
        for run in self._runs.values():
            run.cancel()
