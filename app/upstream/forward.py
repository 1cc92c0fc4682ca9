"""Forwarding: a request that no adapter understands, passed on as it is to an upstream that does.

    404, 403   of a thing that the caller owns: it is not there any more
    403        of a request that names such things: one of them is not there any more
    302        to the upstream's own download service: asked again there; any other 3xx is refused

Everything else that goes wrong is told as in `failures`, with the upstream's details.
"""

import contextlib
import dataclasses
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import aiohttp
import orjson

from app.errors import ApiError, NotFound
from app.telemetry.observer import QUIET, Observer
from app.upstream.credentials import Credential, Credentials
from app.upstream.failures import READ_AT_MOST, Failures, Refusal, blames_key, error_of
from app.upstream.peer import Answer, Asked, Peer
from app.wire import resources

_WRITTEN = "%/?:@!$&'()*+,;=~"
"""What stands for itself in an encoded URL; anything else would be read as a part of the request line."""
_DETAILS = ("BadRequest", "PreconditionFailure", "QuotaFailure", "RetryInfo")


@dataclass(frozen=True, slots=True)
class Naming:
    """What a refusal would be about: something the caller owns and asks for, or refers to."""

    own: str = ""
    refers: bool = False


class UpstreamRefusal(Refusal):
    """What an upstream said in google.rpc's terms, said again."""

    def __init__(self, error: Refusal, name: str, details: Sequence[object]) -> None:
        super().__init__(error, error.said, key_refused=error.key_refused, retry_after=error.retry_after)
        self._name = name
        self._details = details

    def rpc(self) -> bytes:
        """With the upstream's own status and details."""
        body = {"code": self.status, "message": self.message, "status": self._name}
        return orjson.dumps({"error": {**body, "details": self._details} if self._details else body})


class Forwarder:
    """One upstream as something that requests are passed on to."""

    def __init__(
        self,
        name: str,
        models: Sequence[str],
        credentials: Credentials,
        peer: Peer,
        observer: Observer = QUIET,
    ) -> None:
        self.name = name
        self.credentials = credentials
        self.base = peer.base
        self._models = models
        self._peer = peer
        self._observer = observer

    def serves(self, model: str) -> bool:
        """Whether this upstream is configured for a model."""
        return any(fnmatchcase(model, pattern) for pattern in self._models)

    @asynccontextmanager
    async def call(
        self,
        asked: Asked,
        naming: Naming = Naming(),
        *,
        lent: bool = False,
        others: Sequence[Credential] = (),
    ) -> AsyncIterator[Answer]:
        """Ask; a success is yielded with its body still to come. Raises ApiError.

        `lent` tells that the key is the caller's own: what the upstream says of it is for the caller.
        `others` are keys to ask with once each when those before them have failed.
        """
        async with contextlib.AsyncExitStack() as stack:
            left, instead = list(others), None
            while True:
                try:
                    answer = await stack.enter_async_context(self._once(asked, naming, lent=lent))
                    break
                except Refusal as refusal:
                    if not (refusal.elsewhere and left):
                        raise
                    instead = left.pop(0)
                    asked = dataclasses.replace(asked, key=instead.key)
            yield dataclasses.replace(answer, instead=instead.fingerprint) if instead else answer

    @asynccontextmanager
    async def _once(self, asked: Asked, naming: Naming, *, lent: bool) -> AsyncIterator[Answer]:
        failures = Failures(self.name, [asked.key or "", *self.credentials.keys()], lent=lent)
        try:
            async with contextlib.AsyncExitStack() as stack:
                with self._observer.calling(self.name):
                    answer = await self._opened(stack, asked)
                    if not 200 <= answer.status <= 299:
                        body, _ = await begin(answer, READ_AT_MOST)
                        raise self._refused(asked, failures, answer, body, Naming() if lent else naming)
                self.credentials.note(asked.key or "", None)
                yield dataclasses.replace(answer, chunks=_told(answer.chunks, failures))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            failed = failures.unreachable(error)
            self.credentials.note(asked.key or "", failed)
            raise failed from error

    async def _opened(self, stack: contextlib.AsyncExitStack, asked: Asked) -> Answer:
        answer = await stack.enter_async_context(self._peer.ask(asked))
        if again := self._elsewhere(asked, answer):
            await stack.aclose()
            answer = await stack.enter_async_context(self._peer.ask(again))
        return answer

    def _refused(
        self, asked: Asked, failures: Failures, answer: Answer, body: bytes, naming: Naming
    ) -> ApiError:
        error = _refusal(failures, answer, body, naming)
        self.credentials.note(asked.key or "", error)
        return error

    def broken(self, problem: str) -> ApiError:
        """Its answer makes no sense."""
        return Failures(self.name, []).broken(problem)

    def local(self, url: str, seen_at: str = "/") -> str | None:
        """The path and query of a URL below this upstream's base URL; None for any other URL."""
        try:
            base, parts = urlsplit(self.base), urlsplit(urljoin(self.base + seen_at, url))
            same = _origin(parts) == _origin(base)
        except ValueError:
            return None
        if not same or parts.username is not None or not parts.path.startswith(f"{base.path}/"):
            return None
        path = quote(parts.path.removeprefix(base.path), safe=_WRITTEN)
        return path + (f"?{quote(parts.query, safe=_WRITTEN)}" if parts.query else "")

    def _elsewhere(self, asked: Asked, answer: Answer) -> Asked | None:
        """The same again at the download service, if that is where the upstream says it is.

        The redirect chooses nothing: it only tells which of two known places has the content.
        """
        location = answer.header(b"location")
        if asked.method != "GET" or location is None or not 301 <= answer.status <= 308:
            return None
        path = f"/download{asked.path}"
        target = self.local(location, asked.path)
        if target is None or target.partition("?")[0] != path:
            return None
        return dataclasses.replace(asked, path=path)


class Forwarders:
    """The upstreams that requests can be passed on to, in their order; at least one."""

    def __init__(self, forwarders: Sequence[Forwarder]) -> None:
        self._all = {forwarder.name: forwarder for forwarder in forwarders}

    def for_model(self, model: str) -> Forwarder:
        """The first that serves this model; without a model, the first. Raises ApiError (404)."""
        for forwarder in self._all.values():
            if not model or forwarder.serves(model):
                return forwarder
        raise NotFound(f"No upstream is configured for 'models/{model}'.")

    def named(self, name: str) -> Forwarder | None:
        """The one of this name, unless it is not configured any more."""
        return self._all.get(name)

    def pools(self) -> Mapping[str, Credentials]:
        """The credentials of each."""
        return {name: forwarder.credentials for name, forwarder in self._all.items()}


async def begin(answer: Answer, most: int) -> tuple[bytes, bool]:
    """The body up to about `most` bytes, and whether that is all of it."""
    chunks: list[bytes] = []
    size = 0
    async for chunk in answer.chunks:
        chunks.append(chunk)
        size += len(chunk)
        if size > most:
            return b"".join(chunks), False
    return b"".join(chunks), True


async def _told(chunks: AsyncIterator[bytes], failures: Failures) -> AsyncIterator[bytes]:
    """The pieces of a body; what goes wrong between them as an ApiError."""
    try:
        async for chunk in chunks:
            yield chunk
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise failures.unreachable(error) from error


def _refusal(failures: Failures, answer: Answer, body: bytes, naming: Naming) -> ApiError:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
    said = error_of(body)
    if not blames_key(said):
        if naming.own and answer.status in (403, 404):
            return resources.missing(naming.own)
        if naming.refers and answer.status == 403:
            return NotFound(failures.scrub(str(said.get("message") or "Not found.")))
    error = failures.answered(answer.status, body, headers)
    # An upload's status tells whether the same piece should be sent again.
    error.headers |= {name: value for name, value in headers.items() if name.startswith("x-goog-upload-s")}
    if error.status != answer.status or not isinstance(error, Refusal):
        return error
    name = said.get("status")
    return UpstreamRefusal(
        error, failures.scrub(name) if isinstance(name, str) else error.rpc_status, _details(failures, said)
    )


def _details(failures: Failures, said: Mapping[str, object]) -> list[object]:
    """What the upstream says beside the message, as far as it is about the request."""
    details = said.get("details")
    kept: list[object] = [
        item
        for item in (details if isinstance(details, list) else [])
        if isinstance(item, dict) and str(item.get("@type")).rpartition(".")[2] in _DETAILS
    ]
    text = orjson.dumps(kept).decode()
    return kept if failures.scrub(text) == text else []  # also when it is too long to be scrubbed


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, parts.hostname, port
