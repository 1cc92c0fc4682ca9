"""Lists, a page at a time: a token is a position, so that what comes meanwhile shifts nothing."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import Field

from app.admin import positions
from app.admin.questions import OfProject, Question
from app.core.listing import Span

T = TypeVar("T")

MOST = 200


class Paged(Question):
    """How much of a list, and from where on."""

    page_size: Annotated[int, Field(ge=1, le=MOST, description="The most that a page has.")] = 50
    page_token: Annotated[
        str | None, Field(max_length=20_000, description="`next_page_token` of the page before.")
    ] = None

    def span(self, *kinds: type) -> Span:
        """What to ask for: one more than the page has tells whether there is another page."""
        return Span(self.page_size + 1, self.after(*kinds))

    def after(self, *kinds: type) -> tuple[int | str, ...] | None:
        """Where the page begins that is not the first."""
        return positions.read(self.page_token, *kinds) if self.page_token is not None else None


class PagedOfProject(Paged, OfProject):
    """Of one project, or of all."""


def page(
    name: str, found: Sequence[T], asked: Paged, place: Callable[[T], tuple[int | str, ...]]
) -> dict[str, Any]:
    """The page under this name, and the token for the next one; a place is what the span begins behind."""
    shown = list(found[: asked.page_size])
    more = positions.text(*place(shown[-1])) if len(found) > len(shown) else None
    return {name: shown, "next_page_token": more}
