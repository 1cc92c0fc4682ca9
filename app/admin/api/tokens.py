"""/tokens: for owners only."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field

from app.admin.api.gate import Gateway, Input, Output, Owner
from app.admin.api.pages import Paged, page
from app.admin.questions import Text
from app.admin.tokens import NewToken, Tokens
from app.store.tokens import Token


class TokenGiven(Input):
    """A token to be made."""

    name: Text
    role: Text
    days: int | None = Field(default=None, ge=1, le=36_500)


class TokenPage(Output):
    """Some tokens, by name; without the tokens themselves."""

    tokens: list[Token]
    next_page_token: str | None = None


def router(gateway: Gateway) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/tokens", tags=["tokens"])
    parts = gateway.settings, gateway.database

    @routes.get("", response_model=TokenPage)
    async def list_tokens(actor: Owner, asked: Annotated[Paged, Query()]) -> dict[str, Any]:
        found = await Tokens(*parts, actor).tokens(asked.span(str))
        return page("tokens", found, asked, lambda last: (last.name,))

    @routes.post("")
    async def create_token(given: TokenGiven, actor: Owner) -> NewToken:
        return await Tokens(*parts, actor).create(given.name, given.role, given.days)

    @routes.delete("/{token_id}")
    async def revoke_token(token_id: Text, actor: Owner) -> dict[str, str]:
        await Tokens(*parts, actor).revoke(token_id)
        return {}

    return routes
