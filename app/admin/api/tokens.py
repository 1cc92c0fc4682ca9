"""/tokens: for owners only."""

from fastapi import APIRouter
from pydantic import Field

from app.admin.api.gate import Gateway, Input, Output, Owner, Text
from app.admin.api.pages import PageSize, PageToken, cut, position, token
from app.admin.tokens import NewToken, Tokens
from app.store.tokens import Token


class TokenGiven(Input):
    """A token to be made."""

    name: Text
    role: Text
    days: int | None = Field(default=None, ge=1, le=36_500)


class TokenMade(Output):
    """A token that has just been made: the only time that it is shown."""

    id: str
    name: str
    role: str
    token: str


class TokenShown(Output):
    """A token, without the token."""

    id: str
    name: str
    role: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None


class TokenPage(Output):
    """Some tokens, by name."""

    tokens: list[TokenShown]
    next_page_token: str | None = None


def router(gateway: Gateway) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/tokens", tags=["tokens"])
    parts = gateway.settings, gateway.database

    @routes.get("", response_model=TokenPage)
    async def list_tokens(
        actor: Owner, page_size: PageSize = 50, page_token: PageToken = None
    ) -> dict[str, object]:
        start = position(page_token, str)
        found = await Tokens(*parts, actor).page(page_size + 1, str(start[0]) if start else "")
        page, more = cut(found, page_size, _behind)
        return {"tokens": page, "next_page_token": more}

    @routes.post("", response_model=TokenMade)
    async def create_token(given: TokenGiven, actor: Owner) -> NewToken:
        return await Tokens(*parts, actor).create(given.name, given.role, given.days)

    @routes.delete("/{token_id}")
    async def revoke_token(token_id: Text, actor: Owner) -> dict[str, str]:
        await Tokens(*parts, actor).revoke(token_id)
        return {}

    return routes


def _behind(last: Token) -> str:
    return token(last.name)
