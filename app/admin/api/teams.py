"""/projects and /keys: who may ask, and under which policy."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from app.admin.api.gate import Gateway, Input, KeyMaker, Operator, Output, Reader
from app.admin.api.pages import Paged, PagedOfProject, page
from app.admin.questions import Text
from app.admin.records import Deleted, Records
from app.admin.teams import Identity, NewKey, Teams
from app.core import rules
from app.store.keys import Key, Project

_DAY_MS = 86_400_000
_Texts = Annotated[list[Text], Field(max_length=1000)]
_Labels = dict[str, Text | None]


class RatesGiven(Input):
    """Rate limits to be set; null takes one away."""

    rpm: int | None = None
    tpm: int | None = None
    concurrent: int | None = None


class PolicyGiven(RatesGiven):
    """Rules to be set; null takes one away, also inside `model_limits`, whose names are patterns."""

    models: _Texts | None = None
    agents: _Texts | None = None
    deny_tools: _Texts | None = None
    networks: _Texts | None = None
    max_output_tokens: int | None = None
    store: Literal["client", "never", "always"] | None = None
    retention_days: int | None = None
    model_limits: dict[Text, RatesGiven | None] | None = None


class ProjectChanged(Input):
    """What of a project is to change: what is given, and nothing else."""

    owner: Text | None = None
    labels: _Labels = Field(default_factory=dict)
    retention_days: int | None = None
    policy: PolicyGiven = PolicyGiven()


class ProjectGiven(ProjectChanged):
    """A project to be made."""

    name: Text


class KeyChanged(Input):
    """What of a key is to change: what is given, and nothing else."""

    name: Text = ""
    owner: Text | None = None
    labels: _Labels = Field(default_factory=dict)
    expires_at: int | None = None
    policy: PolicyGiven = PolicyGiven()


class KeyGiven(KeyChanged):
    """A key to be made."""

    project: Text
    name: Text


class Rotation(Input):
    """How long the old key goes on."""

    grace_ms: int = Field(default=_DAY_MS, ge=0)


class Leaked(Input):
    """A key that was found somewhere."""

    key: Text


class ProjectShown(Output):
    """A project."""

    id: str
    name: str
    created_at: int
    retention_days: int | None
    owner: str | None
    labels: dict[str, str]
    policy: dict[str, Any]


class KeyShown(Output):
    """A key, without the key."""

    id: str
    project_id: str
    project: str
    name: str
    prefix: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    owner: str | None
    labels: dict[str, str]
    policy: dict[str, Any]


class ProjectPage(Output):
    """Some projects, by name."""

    projects: list[ProjectShown]
    next_page_token: str | None = None


class KeyPage(Output):
    """Some keys, oldest first."""

    keys: list[KeyShown]
    next_page_token: str | None = None


def projects(gateway: Gateway) -> APIRouter:
    """The routes of projects."""
    routes = APIRouter(prefix="/projects", tags=["projects"])
    parts = gateway.settings, gateway.database

    @routes.get("", response_model=ProjectPage)
    async def list_projects(actor: Reader, asked: Annotated[Paged, Query()]) -> dict[str, Any]:
        found = await Teams(*parts, actor).projects(asked.span(str))
        shown = page("projects", found, asked, lambda last: (last.name,))
        return {**shown, "projects": [_shown(each) for each in shown["projects"]]}

    @routes.post("", response_model=ProjectShown)
    async def create_project(given: ProjectGiven, actor: Operator) -> dict[str, Any]:
        fields = given.model_dump(exclude_unset=True, exclude={"name"})
        return _shown(await Teams(*parts, actor).create_project(given.name, fields))

    @routes.patch("/{project}", response_model=ProjectShown)
    async def change_project(project: Text, changes: ProjectChanged, actor: Operator) -> dict[str, Any]:
        return _shown(await Teams(*parts, actor).set_project(project, changes.model_dump(exclude_unset=True)))

    @routes.delete("/{project}")
    async def delete_project(project: Text, actor: Operator) -> Deleted:
        return await Records(*parts, actor).delete_project(project)

    return routes


def keys(gateway: Gateway) -> APIRouter:
    """The routes of keys."""
    routes = APIRouter(prefix="/keys", tags=["keys"])
    parts = gateway.settings, gateway.database

    @routes.get("", response_model=KeyPage)
    async def list_keys(actor: Reader, asked: Annotated[PagedOfProject, Query()]) -> dict[str, Any]:
        found = await Teams(*parts, actor).keys(asked.project, asked.span(int, str))
        shown = page("keys", found, asked, lambda last: (last.created_at, last.id))
        return {**shown, "keys": [_shown(each) for each in shown["keys"]]}

    @routes.post("")
    async def create_key(given: KeyGiven, actor: KeyMaker) -> NewKey:
        fields = given.model_dump(exclude_unset=True, exclude={"project", "name"})
        return await Teams(*parts, actor).create_key(given.project, given.name, fields)

    @routes.post("/identify")
    async def identify_key(leaked: Leaked, actor: Reader) -> Identity:
        return await Teams(*parts, actor).identify(leaked.key)

    @routes.patch("/{key_id}", response_model=KeyShown)
    async def change_key(key_id: Text, changes: KeyChanged, actor: Operator) -> dict[str, Any]:
        return _shown(await Teams(*parts, actor).set_key(key_id, changes.model_dump(exclude_unset=True)))

    @routes.post("/{key_id}/rotate")
    async def rotate_key(key_id: Text, rotation: Rotation, actor: KeyMaker) -> NewKey:
        return await Teams(*parts, actor).rotate_key(key_id, rotation.grace_ms)

    @routes.delete("/{key_id}")
    async def revoke_key(key_id: Text, actor: Operator) -> dict[str, str]:
        await Teams(*parts, actor).revoke_key(key_id)
        return {}

    return routes


def _shown(found: Project | Key) -> dict[str, Any]:
    """The record with its policy as it is written."""
    fields = {name: getattr(found, name) for name in type(found).__slots__}
    return {**fields, "labels": dict(found.labels), "policy": rules.written(found.policy)}
