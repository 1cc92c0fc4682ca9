"""Routing: a model's or agent's name -> the upstream that answers for it."""

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from app.errors import ApiError
from app.upstream.adapter import Adapter

_KNOWN = 1024


class Routes:
    """The configured upstreams in their order; the first whose globs fit a name gets it."""

    def __init__(self, routes: Sequence[tuple[Sequence[str], Adapter]]) -> None:
        self._routes = routes
        self._first = lru_cache(_KNOWN)(self._fitting)  # which is a look at every glob of every upstream

    def adapter(self, target: str) -> Adapter:
        """The adapter for this model or agent. Raises ApiError (404 model_not_found)."""
        name = target.removeprefix("models/").removeprefix("agents/")
        if adapter := self._first(name):
            return adapter
        shown = target if len(target) <= 100 else target[:100] + "..."
        raise ApiError(f"No upstream is configured for '{shown}'.", status=404, code="model_not_found")

    def _fitting(self, name: str) -> Adapter | None:
        for patterns, adapter in self._routes:
            if any(fnmatchcase(name, pattern) for pattern in patterns):
                return adapter
        return None

    async def close(self) -> None:
        """Close every adapter."""
        for _, adapter in self._routes:
            await adapter.close()
