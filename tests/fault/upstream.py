"""An upstream that outlives every gateway: it counts, word by word, and writes down each call.

    python -m tests.fault.upstream PORT LOG

The words of call 17 are `17:0 17:1 17:2 …`, so whoever reads them knows who said them. A model's answer
dies with its connection; an agent's goes on, can be followed from any event on, polled and cancelled.
"""

import asyncio
import contextlib
import json
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

_ORDERS = re.compile(rb"\[\[fault tokens=(\d+) delay_ms=(\d+) break_after=(\d+)\]\]")
_DONE = b"event: done\ndata: [DONE]\n\n"


@dataclass
class Answer:
    """One answer that is being given."""

    number: int
    tokens: int
    delay: float
    break_after: int
    target: dict[str, str]
    status: str = "in_progress"
    events: list[dict[str, Any]] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    @property
    def id(self) -> str:
        return f"v1_upstream-{self.number}"

    async def give(self) -> None:
        """Say everything, in time."""
        self._add(event_type="interaction.created", interaction=self.shown())
        self._add(event_type="interaction.status_update", interaction_id=self.id, status="in_progress")
        self._add(event_type="step.start", index=0, step={"type": "model_output"})
        for word in range(self.tokens):
            await asyncio.sleep(self.delay)
            delta = {"type": "text", "text": f"{self.number}:{word} "}
            self._add(event_type="step.delta", index=0, delta=delta)
        self._add(event_type="step.stop", index=0)
        self.end("completed")

    def end(self, status: str) -> None:
        """The last event."""
        self.status = status
        self._add(event_type="interaction.completed", interaction=self.shown())

    def shown(self) -> dict[str, Any]:
        """The resource, without its steps."""
        usage = {"total_tokens": self.tokens + 1, "total_input_tokens": 1, "total_output_tokens": self.tokens}
        return {"id": self.id, "object": "interaction", "status": self.status, "usage": usage, **self.target}

    def resource(self) -> dict[str, Any]:
        """The resource as GET shows it."""
        text = "".join(event["delta"]["text"] for event in self.events if "delta" in event)
        steps = [{"type": "model_output", "content": [{"type": "text", "text": text}]}] if text else []
        return {**self.shown(), "steps": steps}

    async def after(self, place: int) -> Any:
        """The events behind this place, as they happen."""
        while True:
            for event in self.events[place:]:
                yield event
            place = len(self.events)
            if self.status != "in_progress" and place == len(self.events):
                return
            self.more.clear()
            await self.more.wait()

    def _add(self, **event: Any) -> None:
        self.events.append({**event, "event_id": f"u{self.number}_{len(self.events) + 1}"})
        self.more.set()


class Upstream:
    """The server."""

    def __init__(self, log: Path) -> None:
        self._log = log.open("a")
        self._calls = 0
        self._kept: dict[str, Answer] = {}

    def app(self) -> web.Application:
        """Its routes."""
        made = web.Application(client_max_size=2**26)
        base = "/v1beta/interactions"
        made.router.add_post(base, self.create)
        made.router.add_get(base + "/{id}", self.get)
        made.router.add_post(base + "/{id}/cancel", self.cancel)
        made.router.add_delete(base + "/{id}", self.delete)
        return made

    async def create(self, request: web.Request) -> web.StreamResponse:
        """A new answer: streamed, whole, or in the background."""
        raw = await request.read()
        body = json.loads(raw)
        answer = self._answer(body, raw)
        if body.get("background") or (body.get("store", True) and "agent" in body):
            self._kept[answer.id] = answer
            answer.task = asyncio.create_task(answer.give())
            if body.get("stream"):
                return await self._stream(request, answer, 0, answer.break_after)
            return web.json_response(answer.resource())
        giving = asyncio.create_task(answer.give())
        try:
            if body.get("stream"):
                return await self._stream(request, answer, 0, answer.break_after)
            await giving
            return web.json_response(answer.resource())
        finally:
            giving.cancel()

    async def get(self, request: web.Request) -> web.StreamResponse:
        """What is kept: as a resource, or its events from a place on."""
        answer = self._kept.get(request.match_info["id"])
        if answer is None:
            return _not_found()
        if request.query.get("stream") != "true":
            return web.json_response(answer.resource())
        last = request.query.get("last_event_id", "")
        names = [event["event_id"] for event in answer.events]
        return await self._stream(request, answer, names.index(last) + 1 if last in names else 0, 0)

    async def cancel(self, request: web.Request) -> web.StreamResponse:
        """End what is kept."""
        answer = self._kept.get(request.match_info["id"])
        if answer is None:
            return _not_found()
        if answer.status == "in_progress" and answer.task is not None:
            answer.task.cancel()
            answer.end("cancelled")
        return web.json_response(answer.resource())

    async def delete(self, request: web.Request) -> web.StreamResponse:
        """Forget what is kept."""
        return web.json_response({}) if self._kept.pop(request.match_info["id"], None) else _not_found()

    def _answer(self, body: dict[str, Any], raw: bytes) -> Answer:
        self._calls += 1
        tokens, delay, break_after = map(int, _ORDERS.findall(raw)[-1])
        kind = "agent" if "agent" in body else "model"
        call = {"at": time.monotonic(), "tag": body[kind], "number": self._calls}
        self._log.write(json.dumps(call) + "\n")
        self._log.flush()
        return Answer(self._calls, tokens, delay / 1000, break_after, {kind: body[kind]})

    async def _stream(
        self, request: web.Request, answer: Answer, place: int, break_after: int
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            sent = 0
            async for event in answer.after(place):
                name = event["event_type"]
                await response.write(f"event: {name}\ndata: {json.dumps(event)}\n\n".encode())
                sent += 1
                if sent == break_after and request.transport is not None:
                    request.transport.abort()
                    return response
            await response.write(_DONE)
        return response


def _not_found() -> web.Response:
    return web.json_response({"error": {"code": "not_found", "message": "not here"}}, status=404)


if __name__ == "__main__":
    served = Upstream(Path(sys.argv[2])).app()
    web.run_app(served, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)
