"""/interactions, /holds and /retention: what is stored, what must stay, and what is due when."""

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import Field

from app import ids
from app.admin.api.gate import ContentReader, Gateway, Input, Operator, Output, Reader
from app.admin.api.pages import Paged, PagedOfProject, page
from app.admin.api.streams import AS_JSON, JsonLines, streamed
from app.admin.exports import Exports
from app.admin.questions import ExportAsked, InteractionsAsked, Text
from app.admin.records import Covered, Records
from app.core.model import Interaction
from app.errors import InvalidRequest
from app.store.holds import Hold
from app.store.retention import Due
from app.wire import steps as wire_steps

_Project = Annotated[Text, Query(description="The project's name or id.")]
_MOST_LINES = 10_000


class InteractionShown(Output):
    """An interaction without its content."""

    id: str
    status: str
    model: str | None
    agent: str | None
    parent_id: str | None
    root_id: str
    depth: int
    background: bool
    created_at: int
    updated_at: int
    usage: dict[str, Any] | None


class InteractionsPage(InteractionsAsked, Paged):
    """Which interactions of a project, a page at a time."""


class InteractionPage(Output):
    """Some interactions of a project, newest first."""

    interactions: list[InteractionShown]
    next_page_token: str | None = None


class ExportPart(ExportAsked, Paged):
    """Which interactions are exported, and which part of that; a page is a part of so many lines."""

    page_size: Annotated[int, Field(ge=1, le=_MOST_LINES, description="The most lines of a part.")] = (
        _MOST_LINES
    )


class HoldGiven(Input):
    """Something that must not expire and not be deleted; a whole project needs no `target`."""

    project: Text
    kind: Literal["interaction", "conversation", "key", "project"]
    target: Text | None = None
    reason: Text


class HoldPage(Output):
    """Some holds, oldest first."""

    holds: list[Hold]
    next_page_token: str | None = None


class DuePage(Output):
    """What is due, by project and day (UTC), and what of it is held."""

    due: list[Due]
    next_page_token: str | None = None


def interactions(gateway: Gateway) -> APIRouter:
    """The routes of interactions."""
    routes = APIRouter(prefix="/interactions", tags=["interactions"])
    parts = gateway.settings, gateway.database

    @routes.get("", response_model=InteractionPage)
    async def list_interactions(actor: Reader, asked: Annotated[InteractionsPage, Query()]) -> dict[str, Any]:
        query = asked.query(asked.page_size + 1, asked.after(int, str))
        found = await Records(*parts, actor).interactions(asked.project, query)
        shown = page("interactions", found, asked, lambda last: (last.created_at, last.id))
        return {**shown, "interactions": [_shown(each) for each in shown["interactions"]]}

    @routes.get("/export", response_class=JsonLines, responses=AS_JSON)
    async def export_interactions(actor: ContentReader, asked: Annotated[ExportPart, Query()]) -> JsonLines:
        return await streamed(Exports(*parts, actor).part(asked, asked.page_size, asked.page_token))

    @routes.get("/{interaction_id}", response_model=dict[str, Any])
    async def get_interaction(interaction_id: str, project: _Project, actor: ContentReader) -> Response:
        found = await Records(*parts, actor).get(project, _id(interaction_id))
        return Response(wire_steps.interaction(found, timeline=True), media_type="application/json")

    @routes.delete("/{interaction_id}")
    async def delete_interaction(interaction_id: str, project: _Project, actor: Operator) -> dict[str, str]:
        await Records(*parts, actor).delete(project, _id(interaction_id))
        return {}

    return routes


def holds(gateway: Gateway) -> APIRouter:
    """The routes of holds."""
    routes = APIRouter(prefix="/holds", tags=["holds"])
    parts = gateway.settings, gateway.database

    @routes.get("", response_model=HoldPage)
    async def list_holds(actor: Reader, asked: Annotated[PagedOfProject, Query()]) -> dict[str, Any]:
        found = await Records(*parts, actor).holds(asked.project, asked.span(int, str))
        return page("holds", found, asked, lambda last: (last.created_at, last.id))

    @routes.post("")
    async def place_hold(given: HoldGiven, actor: Operator) -> Covered:
        return await Records(*parts, actor).hold(given.project, given.kind, given.target, given.reason)

    @routes.delete("/{hold_id}")
    async def release_hold(hold_id: Text, actor: Operator) -> dict[str, str]:
        await Records(*parts, actor).release(hold_id)
        return {}

    return routes


def retention(gateway: Gateway) -> APIRouter:
    """The route of what is due."""
    routes = APIRouter(prefix="/retention", tags=["retention"])
    parts = gateway.settings, gateway.database

    @routes.get("", response_model=DuePage)
    async def list_due(actor: Reader, asked: Annotated[PagedOfProject, Query()]) -> dict[str, Any]:
        found = await Records(*parts, actor).due(asked.project, asked.span(str, str))
        return page("due", found, asked, lambda last: (last.project, last.day))

    return routes


def _id(interaction_id: str) -> str:
    if not ids.is_interaction_id(interaction_id):
        raise InvalidRequest("This is not the id of an interaction.")
    return interaction_id


def _shown(found: Interaction) -> dict[str, Any]:
    """The record without content; of what the upstream has said, its counts."""
    names = InteractionShown.model_fields.keys() - {"usage"}
    usage = orjson.loads(found.details).get("usage") if found.details else None
    return {**{name: getattr(found, name) for name in names}, "usage": usage}
