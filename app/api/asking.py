"""A request for the rest of the API, understood: who asks, for what, and where it goes.

limits -> auth -> the allow-list -> whose is it -> which upstream, with which key
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import orjson
from starlette.types import Receive, Scope

from app.api import exchange, relay, visits
from app.api.permits import Permits
from app.auth import policing
from app.auth.caller import Authenticator, Caller
from app.auth.ownership import Ownership
from app.core.model import Json
from app.errors import ApiError, InvalidRequest, NotFound
from app.runs.accounts import Accounts
from app.settings import Settings
from app.store.resources import Resource
from app.upstream import headers
from app.upstream.credentials import Credential
from app.upstream.forward import Forwarder, Forwarders, Naming
from app.upstream.headers import Headers
from app.upstream.peer import Answer, Asked, Body
from app.wire import body as wire_body
from app.wire import parameters as wire_parameters
from app.wire import references, resources
from app.wire.parameters import Parameters
from app.wire.resources import Call

_JSON = (b"content-type", b"application/json")
_START_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Account:
    """A caller at an upstream: with which key, and in which version of the API."""

    caller: Caller
    version: str
    forwarder: Forwarder
    credential: Credential

    def about(self, method: str, name: str) -> Asked:
        """A request about the thing of this name."""
        return Asked(method=method, path=f"/{self.version}/{name}", key=self.credential.key)


@dataclass(frozen=True, slots=True)
class Asking:
    """One request on its way. `fields` is its JSON body, where it has one and is looked into.

    `held` is what it is about, where that is the caller's own.
    """

    account: Account
    call: Call
    parameters: Parameters
    headers: Headers
    body: bytes | None
    fields: Json
    naming: Naming
    held: Resource | None = None

    def asked(self, body: Body, length: Headers | None = None) -> Asked:
        """What goes to the upstream, with this body."""
        prefix = "/upload" if self.call.route.upload else ""
        return Asked(
            method=self.call.route.method,
            path=f"{prefix}/{self.account.version}/{self.call.target}",
            query=wire_parameters.write(self.parameters),
            headers=[*self.headers, *(length or [])],
            body=body,
            key=self.account.credential.key,
        )

    def send(self, body: Body) -> AbstractAsyncContextManager[Answer]:
        """Ask the upstream. Raises ApiError."""
        lent = self.account.caller.credential is not None
        others = [] if lent else self._others(body)
        return self.account.forwarder.call(self.asked(body), self.naming, lent=lent, others=others)

    def _others(self, body: Body) -> list[Credential]:
        """The keys to ask with when this one fails: none where only one can see what it is about."""
        account, naming = self.account, self.naming
        repeatable = body is None or isinstance(body, bytes)
        if not repeatable or self.call.route.effect or naming.own or naming.refers:
            return []
        pool = account.forwarder.credentials
        return pool.others(account.caller.project_id, account.credential.fingerprint)


@dataclass(frozen=True, slots=True)
class Front:
    """What understanding a request takes."""

    authenticator: Authenticator
    ownership: Ownership
    forwarders: Forwarders
    permits: Permits
    accounts: Accounts
    settings: Settings

    async def understand(self, scope: Scope, receive: Receive, *, upload: bool = False) -> Asking:
        """Everything up to, but not including, the call of the upstream. Raises ApiError.

        The body of an upload stays unread when it is content, not JSON.
        """
        caller = await self.authenticator.caller(scope["headers"], scope["query_string"], scope["client"])
        visit = visits.of(scope)
        visit.caller = caller
        version, path = scope["path"].split("/")[1 + upload], scope["path"].split("/", 2 + upload)[-1]
        call = resources.match(scope["method"], path, upload=upload)
        if call is None:
            raise NotFound("Method not found.")
        visit.target = f"{call.route.method} {call.target}"
        policing.admit_call(caller, call)
        owned = self.ownership.enforced
        told = owned and bool(call.route.effect)
        parameters = wire_parameters.read(scope["query_string"], told=told)
        held = await self.ownership.held(caller, call.own) if owned and call.own else None
        sent, fields = await self._body(scope, receive, caller, call)
        named = references.of_body(fields, self.ownership.hosts) if owned else {}
        place = await self.ownership.admit(caller, named, held)
        forwarder, credential = self._where(caller, call, place)
        passed = headers.asked(scope["headers"], told=told)
        if sent is not None:
            passed = [*(each for each in passed if each[0] != b"content-type"), *([_JSON] if sent else [])]
        return Asking(
            account=Account(caller, version, forwarder, credential),
            call=call,
            parameters=parameters,
            headers=passed,
            body=sent,
            fields=fields,
            naming=Naming(call.own, refers=bool(named)),
            held=held,
        )

    async def _body(
        self, scope: Scope, receive: Receive, caller: Caller, call: Call
    ) -> tuple[bytes | None, Json]:
        """The JSON body, as text and as fields; what was understood is what is sent."""
        check_headers(scope)
        upload = call.route.upload
        if upload and not _begins(scope):
            return None, {}
        text = await (relay.text(receive, _START_BYTES) if upload else exchange.read(receive))
        if scope["method"] in ("GET", "DELETE"):
            return None, {}  # some SDKs send "{}", which means nothing there
        if not (self.ownership.enforced or caller.policy.reads_bodies) or not text.strip():
            return text, {}
        parsed = wire_body.parse(text, self.settings.limits.json_depth)
        fields = policing.admit_body(caller, call, parsed)
        try:
            return orjson.dumps(fields), fields
        except TypeError:
            raise InvalidRequest("The request body is nested too deeply.") from None

    def _where(self, caller: Caller, call: Call, place: Resource | None) -> tuple[Forwarder, Credential]:
        if caller.credential is not None:
            return self.forwarders.for_model(call.model), Credential(caller.credential, "")
        if place is None:
            forwarder = self.forwarders.for_model(call.model)
            keys = forwarder.credentials
            return forwarder, (
                keys.of_project(caller.project_id) if call.route.effect else keys.any(caller.project_id)
            )
        found = self.forwarders.named(place.upstream)
        if found is None:
            raise resources.missing(place.name)
        if call.model and not found.serves(call.model):
            raise InvalidRequest(
                f"{place.name} cannot be used with 'models/{call.model}': another upstream has it."
            )
        return found, found.credentials.of(place.credential, caller.project_id)


def check_headers(scope: Scope) -> None:
    """Refuse compressed bodies, and upload headers that the upstream might read in another way.

    What a compressed body holds cannot be bounded beforehand.
    """
    seen: set[bytes] = set()
    for name, value in scope["headers"]:
        if name == b"content-encoding" and value.lower() != b"identity":
            raise ApiError("Compressed request bodies are not supported.", status=415, code="invalid_request")
        if name in seen:
            raise InvalidRequest(f"The header {name.decode()} stands twice.")
        if name.startswith(b"x-goog-upload-"):
            seen.add(name)


def _begins(scope: Scope) -> bool:
    """Whether this begins a resumable upload: its body is JSON, if anything.

    Raises InvalidRequest where the upstream might see it otherwise.
    """
    given = {name: value.strip().lower() for name, value in scope["headers"]}
    resumable = given.get(b"x-goog-upload-protocol") == b"resumable"
    starts = given.get(b"x-goog-upload-command") == b"start"
    if resumable is not starts:
        raise InvalidRequest(
            "A resumable upload begins with X-Goog-Upload-Protocol: resumable, X-Goog-Upload-Command: start."
        )
    return starts
