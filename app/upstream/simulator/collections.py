"""Collections: what can be made, shown, listed, changed and removed, without doing anything."""

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.core.model import Json
from app.errors import InvalidRequest
from app.upstream.simulator.endpoints import Endpoint
from app.upstream.simulator.shelves import Shelves, fields_of, key_of, moment

Guard = Callable[[Endpoint], Endpoint]


@dataclass(frozen=True, slots=True)
class _Style:
    """How a collection writes its members; `by_id` is the newer style."""

    name: str
    by_id: bool = True
    new_id: Callable[[], str] = lambda: secrets.token_hex(6)
    chosen: bool = False


_STYLES = (
    _Style("cachedContents", by_id=False),
    _Style("fileSearchStores", by_id=False),
    _Style("agents", chosen=True),
    _Style("environments", new_id=lambda: str(uuid.uuid4())),
    _Style("triggers"),
    _Style("webhooks"),
    _Style("credentials"),
    _Style("voices", new_id=lambda: f"voice_{secrets.token_hex(6)}"),
)
_PREBUILT = ("Puck", "Charon")


class Collections:
    """The endpoints of every such collection."""

    def __init__(self, shelves: Shelves) -> None:
        self._shelves = shelves

    def routes(self, prefix: str, guarded: Guard) -> list[Route]:
        """The routes below this prefix, each behind a guard."""
        plain = [
            route
            for style in _STYLES
            for route in (
                Route(f"{prefix}/{style.name}", guarded(self._create(style)), methods=["POST"]),
                Route(f"{prefix}/{style.name}", guarded(self._list(style)), methods=["GET"]),
            )
        ]
        one = f"{prefix}/{{collection:str}}/{{member:str}}"
        inside = f"{one}/{{part:str}}"
        return [
            *plain,
            Route(f"{prefix}/webhooks/{{member}}:ping", guarded(self._ping), methods=["POST"]),
            Route(
                f"{prefix}/webhooks/{{member}}:rotateSigningSecret", guarded(self._rotate), methods=["POST"]
            ),
            Route(f"{prefix}/triggers/{{member}}/executions", guarded(self._run), methods=["POST"]),
            Route(inside, guarded(self._list_inside), methods=["GET"]),
            Route(f"{inside}/{{name:str}}", guarded(self._get), methods=["GET"]),
            Route(f"{inside}/{{name:str}}", guarded(self._remove), methods=["DELETE"]),
            Route(one, guarded(self._get), methods=["GET"]),
            Route(one, guarded(self._change), methods=["PATCH"]),
            Route(one, guarded(self._remove), methods=["DELETE"]),
        ]

    def _create(self, style: _Style) -> Endpoint:
        async def create(request: Request) -> Response:
            fields = await fields_of(request)
            given = fields.get("id") if style.chosen else None
            made_id = given if isinstance(given, str) else style.new_id()
            made = _made(style, made_id, fields.get("voice", fields) if style.name == "voices" else fields)
            if fields.get("store") is False:
                return shown({**{n: v for n, v in made.items() if n != "id"}, "key": f"voicekey_{made_id}"})
            return shown(self._shelves.put(key_of(request), f"{style.name}/{made_id}", made))

        return create

    def _list(self, style: _Style) -> Endpoint:
        async def listed(request: Request) -> Response:
            found, token = self._shelves.page(key_of(request), style.name, request.query_params)
            field = "next_page_token" if style.by_id else "nextPageToken"
            public = [_prebuilt(name) for name in _PREBUILT] if style.name == "voices" else []
            return shown({style.name: [*public, *found], **({field: token} if token else {})})

        return listed

    async def _list_inside(self, request: Request) -> Response:
        name = _name(request)
        self._shelves.get(key_of(request), name.rpartition("/")[0])
        found, token = self._shelves.page(key_of(request), name, request.query_params)
        part = request.path_params["part"]
        members = "trigger_executions" if part == "executions" else part
        return shown({members: found, **({"nextPageToken": token} if token else {})})

    async def _get(self, request: Request) -> Response:
        collection, _, member = _name(request).partition("/")
        if collection == "voices" and member in _PREBUILT:
            return shown(_prebuilt(member))
        return shown(self._shelves.get(key_of(request), _name(request)))

    async def _change(self, request: Request) -> Response:
        thing, fields = self._shelves.get(key_of(request), _name(request)), await fields_of(request)
        if ttl := fields.pop("ttl", None):
            fields["expireTime"] = moment(_seconds(ttl))
        thing |= fields
        return shown(thing)

    async def _remove(self, request: Request) -> Response:
        self._shelves.remove(key_of(request), _name(request))
        return shown({})

    async def _ping(self, request: Request) -> Response:
        self._shelves.get(key_of(request), f"webhooks/{request.path_params['member']}")
        return shown({})

    async def _rotate(self, request: Request) -> Response:
        self._shelves.get(key_of(request), f"webhooks/{request.path_params['member']}")
        return shown({"secret": f"whsec_{secrets.token_hex(12)}"})

    async def _run(self, request: Request) -> Response:
        key, trigger = key_of(request), request.path_params["member"]
        self._shelves.get(key, f"triggers/{trigger}")
        execution = {"id": secrets.token_hex(6), "trigger_id": trigger, "status": "running"}
        return shown(self._shelves.put(key, f"triggers/{trigger}/executions/{execution['id']}", execution))


def shown(fields: Json) -> Response:
    """An answer in JSON."""
    return Response(orjson.dumps(fields), headers={"content-type": "application/json; charset=UTF-8"})


def _prebuilt(name: str) -> Json:
    return {"id": name, "type": "prebuilt", "display_name": name}


def _name(request: Request) -> str:
    return request.url.path.split("/", 2)[2]


def _made(style: _Style, made_id: str, fields: Json) -> Json:
    if style.by_id:
        more: Json = {"created": moment()}
        if style.name == "webhooks":
            more = {"create_time": moment(), "state": "enabled", "new_signing_secret": f"whsec_{made_id}"}
        return {**fields, "id": made_id, **more}
    made = {**fields, "name": f"{style.name}/{made_id}", "createTime": moment(), "updateTime": moment()}
    if style.name == "cachedContents":
        made["expireTime"] = moment(_seconds(made.pop("ttl", "3600s")))
        made["usageMetadata"] = {"totalTokenCount": 4096}
        made.pop("contents", None)
    return made


def _seconds(ttl: object) -> timedelta:
    text = str(ttl).removesuffix("s")
    if not text.isdigit():
        raise InvalidRequest("'ttl' must be a duration like 300s.")
    return timedelta(seconds=int(text))
