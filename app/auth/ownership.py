"""Whose things are: what a project has made at an upstream, and what its requests may name.

Where callers bring their own upstream key, the key owns everything and nothing is looked up here.
"""

from collections.abc import Iterable
from dataclasses import replace

from app.auth.caller import Caller
from app.errors import ApiError, InvalidRequest, NotFound
from app.store.resources import NewResource, Resource, Resources, Taken
from app.wire.answers import Made
from app.wire.references import References
from app.wire.resources import missing

_NAMES = 1_000


class Ownership:
    """Answers for a request in one read, or in none when the request names nothing.

    `hosts` are those whose URIs mean files of an upstream. Unless `enforced`, callers bring their own
    keys.
    """

    def __init__(self, resources: Resources, hosts: frozenset[str], *, enforced: bool) -> None:
        self.hosts = hosts
        self.enforced = enforced
        self._resources = resources

    async def held(self, caller: Caller, name: str) -> Resource:
        """The caller's own thing of this name. Raises NotFound."""
        own = await self.own(caller, [name])
        if name not in own:
            raise missing(name)
        return own[name]

    async def own(self, caller: Caller, names: Iterable[str]) -> dict[str, Resource]:
        """Those of these names that are the caller's."""
        wanted = list(names)[:_NAMES]
        return (await self._resources.standing(caller.project_id, wanted)).own if wanted else {}

    async def admit(
        self, caller: Caller, named: References, place: Resource | None = None
    ) -> Resource | None:
        """Let a request name only what is the caller's, and all of it at one place, which is returned.

        Raises NotFound and InvalidRequest, naming the field.
        """
        if not named:
            return place
        if len(named) > _NAMES:
            raise InvalidRequest(f"The request names more than {_NAMES} resources.")
        standing = await self._resources.standing(caller.project_id, named)
        for name, field in named.items():
            found = standing.own.get(name)
            if found is None:
                if name.startswith("agents/") and name not in standing.foreign:
                    continue  # the upstream's own
                raise NotFound(f"'{field}' names what is not found: {name}")
            if place is not None and (found.upstream, found.credential) != (place.upstream, place.credential):
                text = f"'{field}' cannot be used together with {place.name}: another key has made it."
                raise InvalidRequest(text)
            place = found
        return place

    async def vacant(self, caller: Caller, name: str) -> None:
        """Let nobody make something over what is another's. Raises InvalidRequest."""
        if name in (await self._resources.standing(caller.project_id, [name])).foreign:
            raise _exists(name)

    async def page(
        self, caller: Caller, kind: str, after: tuple[int, str] | None, limit: int
    ) -> list[Resource]:
        """The caller's own of a kind, newest first."""
        return await self._resources.page(caller.project_id, kind, after, limit)

    async def record(
        self, caller: Caller, made: Made, upstream: str, credential: str, call_id: str | None = None
    ) -> None:
        """What was made is the caller's. Raises Unavailable; InvalidRequest when another has the name."""
        new = _new(caller.project_id, caller.key_id, made, upstream, credential)
        try:
            await self._resources.record(replace(new, call_id=call_id))
        except Taken:
            raise _exists(made.name) from None

    async def adopt(
        self,
        caller: Caller,
        found: Iterable[Made],
        upstream: str,
        credential: str,
        interaction_id: str | None = None,
    ) -> None:
        """What came out of something of the caller's is the caller's, too."""
        for made in found:
            new = _new(caller.project_id, caller.key_id, made, upstream, credential)
            await self._resources.adopt(replace(new, interaction_id=interaction_id))

    async def forget(self, caller: Caller, name: str) -> None:
        """It is not there any more."""
        await self._resources.forget(caller.project_id, name)


def _exists(name: str) -> ApiError:
    # Not 409: SDKs would silently try again.
    return InvalidRequest(f"The name is taken: {name}")


def _new(project_id: str, key_id: str | None, made: Made, upstream: str, credential: str) -> NewResource:
    return NewResource(
        made.name, upstream, credential, project_id, key_id, made.kind, made.uri, made.expires_at
    )
