"""What stands behind the gateway: the simulator, and the parts of the Gemini API that it does not have.

Models, files with resumable uploads, generateContent and countTokens, as small as they can be.
"""

import itertools
import re
from collections.abc import Iterator
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from app.upstream.simulator import server

MODELS = ("gemini-3-flash-preview", "gemini-3.1-pro-preview")


class Files:
    """Files, and uploads on their way."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._kept: dict[str, dict[str, Any]] = {}
        self._coming: dict[str, tuple[dict[str, Any], bytearray]] = {}

    async def begin(self, request: Request) -> Response:
        """The first request of an upload: what will come."""
        said = (await request.json()).get("file", {})
        number = f"n{next(self._numbers)}"
        mime_type = said.get("mime_type") or said.get("mimeType")
        shown = said.get("display_name") or said.get("displayName")
        url = str(request.url_for("go_on", number=number))
        name = said.get("name") or f"files/{number}"
        file = {"name": name, "displayName": shown, "mimeType": mime_type}
        self._coming[number] = (file, bytearray())
        headers = {"X-Goog-Upload-URL": url, "X-Goog-Upload-Status": "active"}
        return JSONResponse({}, headers=headers)

    async def go_on(self, request: Request) -> Response:
        """A piece."""
        file, data = self._coming[request.path_params["number"]]
        data += await request.body()
        if "finalize" not in request.headers["x-goog-upload-command"]:
            return JSONResponse({}, headers={"X-Goog-Upload-Status": "active"})
        uri = f"https://generativelanguage.googleapis.com/v1beta/{file['name']}"
        file |= {"sizeBytes": str(len(data)), "uri": uri, "state": "ACTIVE"}
        self._kept[file["name"]] = file
        return JSONResponse({"file": file}, headers={"X-Goog-Upload-Status": "final"})

    async def one(self, request: Request) -> Response:
        """Get or delete."""
        name = f"files/{request.path_params['name']}"
        if name not in self._kept:
            return _failure(404, "NOT_FOUND", f"No {name}.")
        if request.method == "DELETE":
            del self._kept[name]
            return JSONResponse({})
        return JSONResponse(self._kept[name])

    async def all(self, _request: Request) -> Response:
        """List."""
        return JSONResponse({"files": list(self._kept.values())})


async def models(_request: Request) -> Response:
    """List."""
    return JSONResponse({"models": [_model(name) for name in MODELS]})


async def model(request: Request) -> Response:
    """Get."""
    name = request.path_params["name"]
    if name not in MODELS:
        return _failure(404, "NOT_FOUND", f"models/{name} is not found.")
    return JSONResponse(_model(name))


async def act(request: Request) -> Response:
    """Generate or count."""
    said = " ".join(
        part["text"] for content in (await request.json())["contents"] for part in content["parts"]
    )
    words = re.findall(r"\S+\s*", said)
    match request.path_params["action"]:
        case "countTokens":
            return JSONResponse({"totalTokens": len(words)})
        case "generateContent":
            return JSONResponse(_answer(f"You said: {said}", len(words)))
        case "streamGenerateContent":
            return StreamingResponse(_events(["You said: ", *words]), media_type="text/event-stream")
    return _failure(404, "NOT_FOUND", "Method not found.")


def _events(pieces: list[str]) -> Iterator[bytes]:
    for piece in pieces:
        yield b"data: " + orjson.dumps(_answer(piece, 1)) + b"\r\n\r\n"


def _answer(text: str, tokens: int) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text}]}
    usage = {"promptTokenCount": tokens, "candidatesTokenCount": tokens, "totalTokenCount": 2 * tokens}
    return {"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": usage}


def _model(name: str) -> dict[str, Any]:
    return {"name": f"models/{name}", "displayName": name, "inputTokenLimit": 1048576}


def _failure(code: int, status: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message, "status": status}}, status_code=code)


def create_app() -> Starlette:
    """The server."""
    files = Files()
    routes = [
        route
        for version in ("v1", "v1beta", "v1alpha")
        for route in (
            Route(f"/upload/{version}/files", files.begin, methods=["POST"]),
            Route(f"/{version}/files", files.all),
            Route(f"/{version}/files/{{name}}", files.one, methods=["GET", "DELETE"]),
            Route(f"/{version}/models", models),
            Route(f"/{version}/models/{{name}}:{{action}}", act, methods=["POST"]),
            Route(f"/{version}/models/{{name}}", model),
        )
    ]
    coming = Route("/upload/v1beta/sessions/{number}", files.go_on, methods=["POST"], name="go_on")
    return Starlette(routes=[coming, *routes, *server.create_app().routes])
