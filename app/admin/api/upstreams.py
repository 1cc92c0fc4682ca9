"""/upstreams: how the keys of the upstreams are doing, in the process that answers."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from app.admin.api.gate import Gateway, Output, Reader
from app.admin.api.pages import Paged, page
from app.upstream.credentials import Health


class CredentialPage(Output):
    """Some keys of upstreams, without the keys; times are epoch milliseconds."""

    credentials: list[Health]
    next_page_token: str | None = None


def router(gateway: Gateway) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/upstreams", tags=["upstreams"])

    @routes.get("", response_model=CredentialPage)
    async def list_credentials(
        actor: Reader,  # noqa: ARG001 - asks for the right
        asked: Annotated[Paged, Query()],
    ) -> dict[str, Any]:
        # They stand in memory, and are as many as the settings name.
        after = asked.span(str, str).after or ()
        found = sorted((each for pool in gateway.pools.values() for each in pool.health()), key=_name)
        return page("credentials", [each for each in found if _name(each) > after], asked, _name)

    return routes


def _name(health: Health) -> tuple[str, str]:
    return health.upstream, health.credential
