"""Affinity: which of an upstream's keys a run is made with.

What a request names, and what it makes, is seen with one key only; other runs take turns.
"""

from collections.abc import Iterator, Mapping

import orjson

from app.auth.caller import Caller
from app.auth.ownership import Ownership
from app.core.fold import Fold
from app.core.model import Json, Request, Turn
from app.errors import InvalidRequest
from app.store.records import Job
from app.upstream.credentials import Credentials
from app.wire import references
from app.wire.answers import Made

_FILES = b"files/"


class Affinity:
    """Chooses the key of a run, and notes what the run has made with it."""

    def __init__(self, ownership: Ownership, pools: Mapping[str, Credentials]) -> None:
        self._ownership = ownership
        self._pools = pools

    async def choose(self, caller: Caller, request: Request, history: bytes, upstream: str) -> str | None:
        """The key's fingerprint; None where there is nothing to choose.

        Raises NotFound and InvalidRequest when the request names what is not the caller's.
        """
        if not self._ownership.enforced:
            return None
        named = references.of_request(request, self._ownership.hosts)
        if place := await self._ownership.admit(caller, named):
            if place.upstream != upstream:
                text = f"{place.name} cannot be used with '{request.target}': they are at two upstreams."
                raise InvalidRequest(text)
            pool = self._pools.get(upstream)
            return pool.of(place.credential, caller.project_id).fingerprint if pool else place.credential
        pool = self._pools.get(upstream)
        if not pool:
            return None
        earlier = await self._earlier(caller, history, upstream) if len(pool) > 1 else None
        if earlier is not None:
            return pool.of(earlier, caller.project_id).fingerprint
        makes = request.agent is not None or "environment" in request.options
        return (pool.of_project(caller.project_id) if makes else pool.any(caller.project_id)).fingerprint

    def again(self, job: Job, upstream: str) -> str | None:
        """The key that a run goes on with: the one it was begun with, unless its project has that no more.

        Raises ApiError (503) when its project has none at all.
        """
        pool = self._pools.get(upstream)
        if not pool or job.credential is None:
            return job.credential
        return pool.of(job.credential, job.project_id).fingerprint

    def others(self, project_id: str, turn: Turn, upstream: str) -> list[str]:
        """Which other keys the turn may be made with; none where what it names is seen with one key only."""
        request, pool = turn.request, self._pools.get(upstream)
        if not pool or turn.affinity is None or turn.kept is not None:
            return []
        makes = request.agent is not None or "environment" in request.options
        if makes or _FILES in turn.steps or references.of_request(request, self._ownership.hosts):
            return []
        return [each.fingerprint for each in pool.others(project_id, turn.affinity)]

    async def keep(self, job: Job, fold: Fold, credential: str | None) -> None:
        """What a run has made is its project's: an environment, files that its output points to."""
        if credential is not None:
            holder = Caller(job.project_id, job.key_id, None)
            made = [*_made(fold.details, fold.steps(), self._ownership.hosts)]
            # A file goes with its interaction; an environment may be others' by then.
            files = [each for each in made if each.kind == "files" and job.store]
            rest = [each for each in made if each not in files]
            await self._ownership.adopt(holder, files, job.upstream, credential, job.id)
            await self._ownership.adopt(holder, rest, job.upstream, credential)

    async def _earlier(self, caller: Caller, history: bytes, upstream: str) -> str | None:
        """The key of the last file that was named earlier in the conversation."""
        if _FILES not in history:
            return None
        named = references.of_steps(orjson.loads(history), self._ownership.hosts)
        own = await self._ownership.own(caller, named)
        places = [own[name] for name in named if name in own and own[name].upstream == upstream]
        return places[0].credential if places else None


def _made(details: Json, steps: list[Json], hosts: frozenset[str]) -> Iterator[Made]:
    environment = details.get("environment_id")
    if isinstance(environment, str):
        yield Made(f"environments/{environment}", "environments")
    for step in steps:
        content = step.get("content") if step.get("type") == "model_output" else None
        for item in content if isinstance(content, list) else ():
            name = references.file(item.get("uri"), hosts) if isinstance(item, dict) else ""
            if name.startswith("files/"):
                yield Made(name, "files")
