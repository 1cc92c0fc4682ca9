"""/upstreams: how the keys of the upstreams are doing, in the process that answers."""

from typing import Any

from fastapi import APIRouter

from app.admin.api.gate import Gateway, Output, Reader
from app.admin.api.pages import PageSize, PageToken, behind, cut, position, token
from app.upstream.credentials import Health


class CredentialShown(Output):
    """A key of an upstream, without the key; times are epoch milliseconds."""

    upstream: str
    credential: str
    weight: int
    projects: list[str]
    cooling_until: int | None
    failures: int
    last_error: str | None
    last_error_at: int | None


class CredentialPage(Output):
    """Some keys of upstreams."""

    credentials: list[CredentialShown]
    next_page_token: str | None = None


def router(gateway: Gateway) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/upstreams", tags=["upstreams"])

    @routes.get("", response_model=CredentialPage)
    async def list_credentials(
        actor: Reader,  # noqa: ARG001 - asks for the right
        page_size: PageSize = 50,
        page_token: PageToken = None,
    ) -> dict[str, Any]:
        start = position(page_token, str)
        found = [each for pool in gateway.pools.values() for each in pool.health()]
        rest = behind(found, str(start[0]) if start else "", _name)
        page, more = cut(rest, page_size, lambda last: token(_name(last)))
        return {"credentials": page, "next_page_token": more}

    return routes


def _name(health: Health) -> str:
    return f"{health.upstream} {health.credential}"
