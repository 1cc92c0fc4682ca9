"""Files: uploaded in one piece or resumably, shown, listed, downloaded, removed.

    POST /upload/v1beta/files                    start: the answer has the URL of the session
    POST /upload/v1beta/files?upload_id=...      upload | query | finalize | cancel, without a key
    PUT  /upload/v1beta/environments/e/files/p   the same, into an environment
    GET  /v1beta/files/f:download?alt=media      a redirect to /download/v1beta/files/f:download

What arrived of a piece that broke off is kept: a query tells how much.
"""

import secrets
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import IO
from urllib.parse import quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from app.core.model import Json
from app.errors import ApiError, InvalidRequest, NotFound
from app.upstream.simulator.collections import Guard, shown
from app.upstream.simulator.shelves import Shelves, fields_of, key_of, moment

_PIECE = 2**18
_IN_MEMORY = 2**20
_UPLOADS = 1_000
_LIFETIME = timedelta(hours=48)
_URI = "https://generativelanguage.googleapis.com/v1beta/"


def _content() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(_IN_MEMORY)


@dataclass(slots=True)
class _Upload:
    """An upload under way: what it is to become, and what has arrived."""

    key: str
    parent: str
    fields: Json
    mime_type: str
    content: IO[bytes] = field(default_factory=_content)
    size: int = 0
    made: Json | None = None


class Files:
    """The endpoints of files, and of uploads of every kind."""

    def __init__(self, shelves: Shelves) -> None:
        self._shelves = shelves
        self._uploads: OrderedDict[str, _Upload] = OrderedDict()

    def routes(self, prefix: str, guarded: Guard) -> list[Route]:
        """The routes below this prefix (and the two that lie beside it), each behind a guard."""
        upload, file = f"/upload{prefix}", f"{prefix}/files/{{file}}"
        return [
            Route(f"{upload}/files", guarded(self._upload), methods=["POST"]),
            Route(f"{upload}/fileSearchStores/{{store}}", guarded(self._upload), methods=["POST"]),
            Route(
                f"{upload}/environments/{{e}}/files/{{p:path}}",
                guarded(self._upload),
                methods=["PUT", "POST"],
            ),
            Route(f"{prefix}/environments/{{e}}/files/{{p:path}}", guarded(self._inside), methods=["GET"]),
            Route(f"/download{file}:download", guarded(self._download), methods=["GET"]),
            Route(f"{file}:download", guarded(self._elsewhere), methods=["GET"]),
            Route(f"{prefix}/files", guarded(self._list), methods=["GET"]),
        ]

    def keep(self, key: str, name: str, mime_type: str, content: bytes) -> Json:
        """A file that was made here, not uploaded."""
        held = _content()
        held.write(content)
        return self._file(key, name, {"source": "GENERATED"}, mime_type, held)

    async def _upload(self, request: Request) -> Response:
        if "upload_id" in request.query_params:
            return await self._go_on(request)
        key, parent = key_of(request), _parent(request)
        if parent:
            self._shelves.get(key, parent)
        if request.headers.get("x-goog-upload-protocol") != "resumable":
            upload = _Upload(key, parent, {}, request.headers.get("content-type", ""))
            await _receive(request, upload)
            return shown(self._finish(request, upload))
        return await self._start(request, key, parent)

    async def _start(self, request: Request, key: str, parent: str) -> Response:
        if request.headers.get("x-goog-upload-command") != "start":
            raise InvalidRequest("A resumable upload begins with the command 'start'.")
        fields = await fields_of(request)
        mime_type = request.headers.get("x-goog-upload-header-content-type", "application/octet-stream")
        upload_id = secrets.token_urlsafe(24)
        self._uploads[upload_id] = _Upload(key, parent, fields.get("file", fields), mime_type)
        if len(self._uploads) > _UPLOADS:
            self._uploads.popitem(last=False)
        here = request.url.replace(path=quote(request.url.path), query="")
        url = f"{here}?upload_id={upload_id}&upload_protocol=resumable"
        more = {"x-goog-upload-url": url, "x-goog-upload-control-url": url, "x-goog-upload-status": "active"}
        return Response(headers=more)

    async def _go_on(self, request: Request) -> Response:
        upload = self._uploads.get(request.query_params["upload_id"])
        if upload is None:
            raise NotFound("The upload was not found.")
        commands = {each.strip() for each in request.headers.get("x-goog-upload-command", "").split(",")}
        if "cancel" in commands:
            del self._uploads[request.query_params["upload_id"]]
            return Response(headers={"x-goog-upload-status": "cancelled"})
        if "upload" in commands and upload.made is None:
            if request.headers.get("x-goog-upload-offset") != str(upload.size):
                raise _unfit(f"The offset must be {upload.size}.")
            await _receive(request, upload)
        if "finalize" in commands and upload.made is None:
            upload.made = self._finish(request, upload)
        headers = {"x-goog-upload-size-received": str(upload.size)}
        if upload.made is None:
            return Response(headers={**headers, "x-goog-upload-status": "active"})
        answer = shown(upload.made)
        answer.headers.update({**headers, "x-goog-upload-status": "final"})
        return answer

    def _finish(self, request: Request, upload: _Upload) -> Json:
        if not upload.parent:
            name = upload.fields.get("name") or f"files/{secrets.token_hex(6)}"
            return {"file": self._file(upload.key, name, upload.fields, upload.mime_type, upload.content)}
        if upload.parent.startswith("environments/"):
            path = request.path_params["p"]
            file = {"name": path.rpartition("/")[2], "path": path, "size_bytes": upload.size, "type": "file"}
            self._shelves.put(upload.key, f"{upload.parent}/files/{path}", file)
            self._shelves.fill(upload.key, f"{upload.parent}/files/{path}", upload.content)
            return file
        document = f"{upload.parent}/documents/{secrets.token_hex(6)}"
        shelf = {"name": document, "displayName": upload.fields.get("displayName"), "state": "STATE_ACTIVE"}
        self._shelves.put(upload.key, document, shelf)
        operation = f"{upload.parent}/upload/operations/{secrets.token_hex(6)}"
        response = {"parent": upload.parent, "documentName": document}
        return self._shelves.put(
            upload.key, operation, {"name": operation, "done": True, "response": response}
        )

    def _file(self, key: str, name: str, given: Json, mime_type: str, content: IO[bytes]) -> Json:
        size = content.seek(0, 2)
        shelf = {
            "name": name,
            "displayName": given.get("display_name", given.get("displayName", "")),
            "mimeType": mime_type,
            "sizeBytes": str(size),
            "createTime": moment(),
            "updateTime": moment(),
            "expirationTime": moment(_LIFETIME),
            "uri": f"{_URI}{name}",
            "state": "ACTIVE",
            "source": given.get("source", "UPLOADED"),
        }
        self._shelves.put(key, name, shelf)
        self._shelves.fill(key, name, content)
        return shelf

    async def _list(self, request: Request) -> Response:
        found, token = self._shelves.page(key_of(request), "files", request.query_params)
        return shown({"files": found, **({"nextPageToken": token} if token else {})})

    async def _inside(self, request: Request) -> Response:
        name = f"environments/{request.path_params['e']}/files/{request.path_params['p']}"
        file = self._shelves.get(key_of(request), name)
        if request.query_params.get("alt") == "media":
            content = self._shelves.content(key_of(request), name)
            return StreamingResponse(_pieces(content), media_type="application/octet-stream")
        return shown({"files": [file]})

    async def _elsewhere(self, request: Request) -> Response:
        self._shelves.get(key_of(request), f"files/{request.path_params['file']}")
        return RedirectResponse(request.url.replace(path=f"/download{request.url.path}"), 302)

    async def _download(self, request: Request) -> Response:
        key, name = key_of(request), f"files/{request.path_params['file']}"
        file = self._shelves.get(key, name)
        headers = {"content-length": file["sizeBytes"]}
        return StreamingResponse(_pieces(self._shelves.content(key, name)), 200, headers, file["mimeType"])


async def _receive(request: Request, upload: _Upload) -> None:
    """Take in what comes, also when it ends too early."""
    upload.content.seek(upload.size)
    try:
        async for piece in request.stream():
            upload.content.write(piece)
            upload.size += len(piece)
    except ClientDisconnect:
        upload.content.truncate(upload.size)
        raise


async def _pieces(content: IO[bytes]) -> AsyncIterator[bytes]:
    at = 0
    while True:
        content.seek(at)
        piece = content.read(_PIECE)
        if not piece:
            return
        yield piece
        at += len(piece)


def _parent(request: Request) -> str:
    if "e" in request.path_params:
        return f"environments/{request.path_params['e']}"
    store, _, action = request.path_params.get("store", "").partition(":")
    if store and action != "uploadToFileSearchStore":
        raise NotFound("Method not found.")
    return f"fileSearchStores/{store}" if store else ""


def _unfit(text: str) -> ApiError:
    return InvalidRequest(text, headers={"x-goog-upload-status": "active"})
