"""Uploads: begun with a key, gone on with at a session URL that is a key by itself.

    POST /upload/v1beta/files      -> X-Goog-Upload-URL: {public_url}/upload/v1beta/sessions/{token}
    POST that URL, piece by piece  -> the upstream's own session; the last answer tells what was made

SDKs send the pieces without their key, so the token is all there is: it is random, stored only as a
digest, bound to a project and to the key that began, and it ends. Where it leads stands in the
database, below the upstream's base URL: any replica can go on, and nobody can be led elsewhere.
"""

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from app.api import owned, relay, visits
from app.api.asking import Account, Asking, Front, check_headers
from app.api.errors import Endpoint
from app.api.forwarding import logged
from app.api.relay import Incoming
from app.auth.caller import INVALID, Caller
from app.core.versions import Versions
from app.errors import ApiError, InvalidRequest, NotFound, Unauthenticated
from app.store.uploads import Uploads, UploadSession
from app.upstream import headers
from app.upstream.credentials import Credential
from app.upstream.forward import Naming
from app.upstream.headers import Headers
from app.upstream.peer import Answer, Asked
from app.wire import answers, parameters, resources

_LENGTH = b"content-length"
_OFFSET = b"x-goog-upload-offset"
_WHOLE = b"x-goog-upload-header-content-length"
_LIFETIME_MS = 24 * 3_600_000
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_HOST = re.compile(r"([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class UploadRoutes:
    """The routes, with everything they need; `digests` turns a token into what is stored of it."""

    front: Front
    uploads: Uploads
    digests: Callable[[str], Versions[bytes]]

    def routes(self) -> list[BaseRoute]:
        """Where uploads go on, and where they begin."""
        begin, go_on = Endpoint(self.begin, "upload"), Endpoint(self.go_on, "upload")
        return [
            route
            for version in resources.VERSIONS
            for route in (
                Route(f"/upload/{version}/sessions/{{token}}", go_on, methods=["POST", "PUT"]),
                *(
                    Route(f"/upload/{version}/{collection}{{rest:path}}", begin)
                    for collection in resources.COLLECTIONS
                ),
            )
        ]

    async def begin(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Begin an upload, or do all of it in one request."""
        asking = await self.front.understand(scope, receive, upload=True)
        account, line, owns = asking.account, asking.call.route, self.front.ownership.enforced
        given = dict(scope["headers"])
        self._check_size(given)
        base = self._base(scope)
        if owns and line.kind and (name := answers.chosen(line.kind, asking.fields)):
            await self.front.ownership.vacant(account.caller, name)
        facts = {"method": line.method, "path": f"upload/{line.path}", "upstream": account.forwarder.name}
        async with logged(send, account.caller, **facts) as sending:
            incoming = Incoming(receive)
            if asking.body is None:
                asked = asking.asked(incoming.pieces(), _length(given))
            else:
                asked = asking.asked(asking.body)
            answer, body = await _sent(account, asked, incoming, asking.naming)
            more = await self._opened(base, asking, answer)
            if owns and line.effect and line.kind and _ended(answer):
                await owned.record(self.front, account, line.kind, body)
            await relay.whole(sending, answer, body, more)

    async def go_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The next piece, the last one, or a question how far it came."""
        check_headers(scope)
        given = dict(scope["headers"])
        self._check_size(given)
        digests, session = await self._session(scope)
        account = self._account(scope, session)
        visits.of(scope).caller = account.caller
        path, _, query = session.target.partition("?")
        passed = [*headers.asked(scope["headers"], told=True), *_length(given)]
        facts = {"method": scope["method"], "path": "upload/sessions", "upstream": session.upstream}
        async with logged(send, account.caller, **facts) as sending:
            incoming = Incoming(receive)
            asked = Asked(scope["method"], path, query, passed, incoming.pieces())
            answer, body = await _sent(account, asked, incoming, Naming())
            if "cancel" in _commands(given):
                await self.uploads.close(digests)
            elif session.kind is not None and body and _ended(answer):
                await owned.record(self.front, account, resources.KINDS[session.kind], body)
            await relay.whole(sending, answer, body)

    async def _session(self, scope: Scope) -> tuple[Versions[bytes], UploadSession]:
        """The session of the token. Raises NotFound: one answer for all that is wrong with it.

        Raises Unauthenticated when the key that began is not valid any more.
        """
        token = str(scope["path_params"]["token"])
        digests = self.digests(token)
        found = await self.uploads.find(digests) if _TOKEN.fullmatch(token) else None
        session, valid = found or (None, True)
        if not valid:
            raise Unauthenticated(INVALID)
        if session is not None and _has_key(scope):
            caller = await self.front.authenticator.caller(
                scope["headers"], scope["query_string"], scope["client"]
            )
            session = session if caller.project_id == session.project_id else None
        if session is None or self.front.forwarders.named(session.upstream) is None:
            raise NotFound("Upload not found.")
        return digests, session

    def _account(self, scope: Scope, session: UploadSession) -> Account:
        forwarder = self.front.forwarders.named(session.upstream)
        assert forwarder is not None  # noqa: S101 - the session would not have been found
        owns = self.front.ownership.enforced
        credential = (
            forwarder.credentials.of(session.credential, session.project_id) if owns else Credential("", "")
        )
        caller = Caller(session.project_id, session.key_id, None)
        return Account(caller, scope["path"].split("/")[2], forwarder, credential)

    async def _opened(self, base: str, asking: Asking, answer: Answer) -> Headers:
        """Our session in place of the upstream's, where the upstream has opened one."""
        theirs = answer.header(headers.UPLOAD_URLS[0])
        if theirs is None:
            return []
        account, line = asking.account, asking.call.route
        target = account.forwarder.local(theirs)
        if target is None:
            raise account.forwarder.broken("an upload URL at another address than its own")
        path, _, query = target.partition("?")
        session = UploadSession(
            project_id=account.caller.project_id,
            key_id=account.caller.key_id,
            upstream=account.forwarder.name,
            credential=account.credential.fingerprint,
            kind=line.kind.name if line.effect and line.kind and self.front.ownership.enforced else None,
            target=f"{path}?{parameters.without_key(query)}",
        )
        token = secrets.token_urlsafe(32)
        url = f"{base}/upload/{account.version}/sessions/{token}"
        await self.uploads.open(self.digests(token).current, session, _LIFETIME_MS)
        return [(name, url.encode()) for name in headers.UPLOAD_URLS if answer.header(name) is not None]

    def _base(self, scope: Scope) -> str:
        """How this caller reaches the gateway: as the settings say, else as the request did."""
        if self.front.settings.public_url is not None:
            return str(self.front.settings.public_url).rstrip("/")
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
        if not _HOST.fullmatch(host):
            raise InvalidRequest("The Host header names no host.")
        return f"{scope['scheme']}://{host}"

    def _check_size(self, given: Mapping[bytes, bytes]) -> None:
        """Refuse an upload that says it is too large: as a whole, or up to the end of this piece."""
        most = self.front.settings.limits.upload_bytes
        whole, offset, piece = (_number(given, name) for name in (_WHOLE, _OFFSET, _LENGTH))
        if max(whole, offset + piece) > most:
            text = f"The upload is larger than {most} bytes."
            raise ApiError(text, status=413, code="invalid_request", headers={"connection": "close"})


async def _sent(account: Account, asked: Asked, incoming: Incoming, naming: Naming) -> tuple[Answer, bytes]:
    """The upstream's answer. Where the body broke off on its way here, that is what is told."""
    lent = account.caller.credential is not None
    try:
        async with account.forwarder.call(asked, naming, lent=lent) as answer:
            return answer, await owned.whole(account, answer)
    except ApiError:
        if incoming.failure is not None:
            raise incoming.failure from None
        raise


def _ended(answer: Answer) -> bool:
    """Whether the upload is complete; an upload in one request need not say so."""
    return answer.header(b"x-goog-upload-status") in (None, "final")


def _length(given: Mapping[bytes, bytes]) -> Headers:
    return [(_LENGTH, given[_LENGTH])] if _LENGTH in given else []


def _number(given: Mapping[bytes, bytes], name: bytes) -> int:
    value = given.get(name, b"0")
    if not value.isdigit() or len(value) > 15:
        raise InvalidRequest(f"The header {name.decode()} is not a number.")
    return int(value)


def _commands(given: Mapping[bytes, bytes]) -> set[str]:
    command = given.get(b"x-goog-upload-command", b"").decode("latin-1").lower()
    return {each.strip() for each in command.split(",")}


def _has_key(scope: Scope) -> bool:
    names = {name for name, _ in scope["headers"]}
    return bool(names & {b"x-goog-api-key", b"authorization"}) or b"key=" in scope["query_string"]
