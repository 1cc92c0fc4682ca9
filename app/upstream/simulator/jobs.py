"""Jobs: batches and long-running operations. They are done when they are looked at."""

import secrets
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.core.model import Json
from app.errors import ApiError, InvalidRequest
from app.upstream.simulator.collections import Guard, shown
from app.upstream.simulator.files import Files
from app.upstream.simulator.generation import answered, response_of
from app.upstream.simulator.shelves import Shelves, fields_of, key_of, moment

_DONE = "BATCH_STATE_SUCCEEDED"
_PENDING = "BATCH_STATE_PENDING"


class Jobs:
    """The endpoints of batches and operations."""

    def __init__(self, shelves: Shelves, files: Files) -> None:
        self._shelves = shelves
        self._files = files

    def routes(self, prefix: str, guarded: Guard) -> list[Route]:
        """The routes below this prefix, each behind a guard."""
        model = f"{prefix}/models/{{model}}"
        return [
            Route(f"{model}:batchGenerateContent", guarded(self._batch), methods=["POST"]),
            Route(f"{model}:asyncBatchEmbedContent", guarded(self._batch), methods=["POST"]),
            Route(f"{model}:predictLongRunning", guarded(self._film), methods=["POST"]),
            Route(f"{model}/operations/{{operation}}", guarded(self._operation), methods=["GET"]),
            Route(f"{prefix}/fileSearchStores/{{store}}:importFile", guarded(self._import), methods=["POST"]),
            Route(
                f"{prefix}/fileSearchStores/{{store}}/upload/operations/{{operation}}",
                guarded(self._operation),
                methods=["GET"],
            ),
            Route(f"{prefix}/batches", guarded(self._list), methods=["GET"]),
            Route(f"{prefix}/batches/{{batch}}:cancel", guarded(self._cancel), methods=["POST"]),
            Route(f"{prefix}/batches/{{batch}}", guarded(self._look), methods=["GET"]),
        ]

    async def _batch(self, request: Request) -> Response:
        fields = (await fields_of(request)).get("batch")
        if not isinstance(fields, dict):
            raise InvalidRequest("'batch' is required.")
        name = f"batches/{secrets.token_hex(8)}"
        metadata = {**fields, "name": name, "model": f"models/{request.path_params['model']}"}
        metadata |= {"state": _PENDING, "createTime": moment(), "updateTime": moment()}
        return shown(self._shelves.put(key_of(request), name, {"name": name, "metadata": metadata}))

    async def _list(self, request: Request) -> Response:
        found, token = self._shelves.page(key_of(request), "batches", request.query_params)
        return shown({"operations": found, **({"nextPageToken": token} if token else {})})

    async def _look(self, request: Request) -> Response:
        batch = self._shelves.get(key_of(request), f"batches/{request.path_params['batch']}")
        if batch["metadata"]["state"] == _PENDING:
            self._do(key_of(request), batch)
        return shown(batch)

    async def _cancel(self, request: Request) -> Response:
        batch = self._shelves.get(key_of(request), f"batches/{request.path_params['batch']}")
        if batch["metadata"]["state"] == _PENDING:
            batch["metadata"]["state"] = "BATCH_STATE_CANCELLED"
        return shown({})

    async def _film(self, request: Request) -> Response:
        name = f"models/{request.path_params['model']}/operations/{secrets.token_hex(6)}"
        file = self._files.keep(key_of(request), f"files/{secrets.token_hex(6)}", "video/mp4", b"a film")
        video = {"video": {"uri": f"{file['uri']}:download?alt=media"}}
        response = {"generateVideoResponse": {"generatedSamples": [video]}}
        self._shelves.put(key_of(request), name, {"name": name, "done": True, "response": response})
        return shown({"name": name})

    async def _import(self, request: Request) -> Response:
        key, store = key_of(request), f"fileSearchStores/{request.path_params['store']}"
        file = self._shelves.get(key, str((await fields_of(request)).get("fileName")))
        self._shelves.get(key, store)
        document = f"{store}/documents/{secrets.token_hex(6)}"
        self._shelves.put(key, document, {"name": document, "displayName": file["displayName"]})
        name = f"{store}/operations/{secrets.token_hex(6)}"
        response = {"parent": store, "documentName": document}
        return shown(self._shelves.put(key, name, {"name": name, "done": True, "response": response}))

    async def _operation(self, request: Request) -> Response:
        return shown(self._shelves.get(key_of(request), request.url.path.split("/", 2)[2]))

    def _do(self, key: str, batch: Json) -> None:
        metadata = batch["metadata"]
        metadata |= {"state": _DONE, "endTime": moment(), "updateTime": moment()}
        config = metadata.get("inputConfig", metadata.get("input_config", {}))
        model = metadata["model"].removeprefix("models/")
        if name := config.get("fileName", config.get("file_name")):
            made = self._files.keep(
                key, f"files/batch-{secrets.token_hex(6)}", "jsonl", self._lines(key, name, model)
            )
            output = {"responsesFile": made["name"]}
        else:
            requests = config.get("requests", {}).get("requests", [])
            output = {"inlinedResponses": {"inlinedResponses": [_reply(model, each) for each in requests]}}
        metadata["output"] = output
        batch |= {"done": True, "response": output}

    def _lines(self, key: str, name: str, model: str) -> bytes:
        content = self._shelves.content(key, name)
        content.seek(0)
        replies = [_reply(model, orjson.loads(line)) for line in content.read().splitlines() if line.strip()]
        return b"\n".join(orjson.dumps(reply) for reply in replies)


def _reply(model: str, asked: Any) -> Json:
    try:
        return {"response": response_of(model, answered(model, asked["request"]))}
    except ApiError as error:
        return {"error": {"code": error.status, "message": error.message}}
