"""/audit: who has done what, and whether the log is whole."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from app.admin.api.gate import Auditor, Gateway, Input, Output
from app.admin.api.pages import Paged, page
from app.admin.api.streams import AS_JSON, JsonLines, streamed
from app.admin.audits import Audits
from app.admin.chains import Verified
from app.admin.questions import AuditAsked, OfProject, Text
from app.core.audit import Record


class AuditPage(AuditAsked, Paged):
    """Which records of the audit log, a page at a time."""


class Exported(OfProject):
    """Whose log is exported, and from where on."""

    after: Annotated[
        int, Field(ge=0, lt=2**53, description="Behind the project's record with this `seq`.")
    ] = 0


class RecordPage(Output):
    """Some records, newest first."""

    records: list[Record]
    next_page_token: str | None = None


class ToVerify(Input):
    """Which chain, if not all."""

    project: Text | None = None


class Verification(Output):
    """Whether everything is as it was signed, and chain by chain."""

    ok: bool
    chains: list[Verified]


def router(gateway: Gateway) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/audit", tags=["audit"])
    parts = gateway.settings, gateway.database

    @routes.get("", response_model=RecordPage)
    async def list_records(actor: Auditor, asked: Annotated[AuditPage, Query()]) -> dict[str, Any]:
        found = await Audits(*parts, actor).records(asked, asked.span(int, str))
        return page("records", found, asked, lambda last: (last.at, last.id))

    @routes.post("/verify", response_model=Verification)
    async def verify(given: ToVerify, actor: Auditor) -> dict[str, Any]:
        found = await Audits(*parts, actor).verify(given.project)
        return {"ok": all(each.ok for each in found), "chains": found}

    @routes.get("/export", response_class=JsonLines, responses=AS_JSON)
    async def export(actor: Auditor, asked: Annotated[Exported, Query()]) -> JsonLines:
        return await streamed(Audits(*parts, actor).export(asked.project, asked.after))

    return routes
