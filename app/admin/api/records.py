"""/interactions, /holds and /retention: what is stored, what must stay, and what is due when."""

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Response

from app import ids
from app.admin.api.gate import ContentReader, Gateway, Input, Operator, Output, Reader, Text
from app.admin.api.pages import PageSize, PageToken, behind, cut, position, token
from app.admin.records import Covered, Records
from app.core.listing import Query as Question
from app.core.model import Interaction
from app.errors import InvalidRequest
from app.store.holds import Hold
from app.wire import steps as wire_steps

_Project = Annotated[Text, Query()]
_Given = Annotated[Text | None, Query()]


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


class InteractionPage(Output):
    """Some interactions of a project, newest first."""

    interactions: list[InteractionShown]
    next_page_token: str | None = None


class HoldGiven(Input):
    """Something that must not expire and not be deleted; a whole project needs no `target`."""

    project: Text
    kind: Literal["interaction", "conversation", "key", "project"]
    target: Text | None = None
    reason: Text


class HoldMade(Output):
    """A hold that is in force now, and how many interactions it covers."""

    project: str
    kind: str
    target: str
    reason: str
    interactions: int


class HoldShown(Output):
    """A hold."""

    id: str
    project_id: str
    kind: str
    target: str
    reason: str
    created_at: int


class HoldPage(Output):
    """Some holds, oldest first."""

    holds: list[HoldShown]
    next_page_token: str | None = None


def interactions(gateway: Gateway) -> APIRouter:
    """The routes of interactions."""
    routes = APIRouter(prefix="/interactions", tags=["interactions"])
    parts = gateway.settings, gateway.database

    @routes.get("", response_model=InteractionPage)
    async def list_interactions(
        actor: Reader,
        project: _Project,
        model: _Given = None,
        agent: _Given = None,
        status: _Given = None,
        page_size: PageSize = 50,
        page_token: PageToken = None,
    ) -> dict[str, Any]:
        start = position(page_token, int, str)
        after = (int(start[0]), str(start[1])) if start else None
        asked = Question(limit=page_size + 1, after=after, model=model, agent=agent, status=status)
        found = await Records(*parts, actor).page(project, asked)
        page, more = cut(found, page_size, lambda last: token(last.created_at, last.id))
        return {"interactions": [_shown(each) for each in page], "next_page_token": more}

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
    async def list_holds(
        actor: Reader, project: _Given = None, page_size: PageSize = 50, page_token: PageToken = None
    ) -> dict[str, Any]:
        start = position(page_token, str)
        found = await Records(*parts, actor).holds(project)
        rest = behind(found, str(start[0]) if start else "", _age)
        page, more = cut(rest, page_size, lambda last: token(_age(last)))
        return {"holds": page, "next_page_token": more}

    @routes.post("", response_model=HoldMade)
    async def place_hold(given: HoldGiven, actor: Operator) -> Covered:
        return await Records(*parts, actor).hold(given.project, given.kind, given.target, given.reason)

    @routes.delete("/{hold_id}")
    async def release_hold(hold_id: Text, actor: Operator) -> dict[str, str]:
        await Records(*parts, actor).release(hold_id)
        return {}

    return routes


def _age(hold: Hold) -> str:
    return f"{hold.created_at:015d} {hold.id}"


def _id(interaction_id: str) -> str:
    if not ids.is_interaction_id(interaction_id):
        raise InvalidRequest("This is not the id of an interaction.")
    return interaction_id


def _shown(found: Interaction) -> dict[str, Any]:
    """The record without content; of what the upstream has said, its counts."""
    names = InteractionShown.model_fields.keys() - {"usage"}
    usage = orjson.loads(found.details).get("usage") if found.details else None
    return {**{name: getattr(found, name) for name in names}, "usage": usage}
