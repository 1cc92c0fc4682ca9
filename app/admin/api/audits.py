"""/audit: who has done what, and whether the log is whole."""

from collections.abc import AsyncIterator, Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse

from app.admin.api.gate import Auditor, Gateway, Input, Output, Text
from app.admin.api.pages import PageSize, PageToken, cut, position, token
from app.admin.audits import Audits
from app.admin.chains import Verified
from app.core.audit import Record
from app.store.audit import Question

_Given = Annotated[Text | None, Query()]


class RecordShown(Output):
    """A record of the log; `seq` once it has its place in the chain."""

    project_id: str
    seq: int | None
    id: str
    at: int
    actor_kind: str
    actor: str | None
    address: str | None
    request_id: str | None
    action: str
    target: str | None
    outcome: str
    bytes_in: int
    bytes_out: int
    details: str | None


class RecordPage(Output):
    """Some records, newest first."""

    records: list[RecordShown]
    next_page_token: str | None = None


class ToVerify(Input):
    """Which chain, if not all."""

    project: Text | None = None


class VerifiedShown(Output):
    """What has become of a chain."""

    project_id: str
    ok: bool
    records: int
    unsealed: int
    first_bad: int | None
    hash: str
    text: str


class Verification(Output):
    """Whether everything is as it was signed, and chain by chain."""

    ok: bool
    chains: list[VerifiedShown]


def router(gateway: Gateway) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/audit", tags=["audit"])
    parts = gateway.settings, gateway.database

    @routes.get("", response_model=RecordPage)
    async def list_records(
        *,
        actor: Auditor,
        project: _Given = None,
        action: _Given = None,
        by: _Given = None,
        since: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
        page_size: PageSize = 50,
        page_token: PageToken = None,
    ) -> dict[str, Any]:
        start = position(page_token, int, str)
        before = (int(start[0]), str(start[1])) if start else None
        asked = Question(page_size + 1, action=action, actor=by, since=since, before=before)
        found = await Audits(*parts, actor).records(asked, project)
        page, more = cut(found, page_size, _behind)
        return {"records": page, "next_page_token": more}

    @routes.post("/verify", response_model=Verification)
    async def verify(given: ToVerify, actor: Auditor) -> dict[str, Any]:
        found: list[Verified] = await Audits(*parts, actor).verify(given.project)
        return {"ok": all(each.ok for each in found), "chains": found}

    @routes.get("/export", response_model=str)
    async def export(actor: Auditor, project: _Given = None) -> StreamingResponse:
        lines = Audits(*parts, actor).export(project)
        first = [await anext(lines, b"")]  # what is wrong with the question comes out here
        return StreamingResponse(_joined(first, lines), media_type="application/jsonl")

    return routes


async def _joined(first: Iterable[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    for each in first:
        yield each
    async for each in rest:
        yield each


def _behind(last: Record) -> str:
    return token(last.at, last.id)
