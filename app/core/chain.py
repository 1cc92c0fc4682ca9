"""The chain: an interaction and its ancestors, as the history of the next turn."""

from dataclasses import dataclass

from app.core import status, steps


@dataclass(frozen=True, slots=True)
class Link:
    """One interaction of a chain: what it was told and what it answered, as JSON arrays."""

    id: str
    parent_id: str | None
    status: str
    input: bytes
    output: bytes


class MissingLink(Exception):
    """A chain that names an interaction which is not there any more; `.id` says which."""

    def __init__(self, interaction_id: str) -> None:
        super().__init__(interaction_id)
        self.id = interaction_id


def history(links: list[Link], *, continues: bool = False) -> bytes:
    """All steps of the chain, oldest first, as one JSON array.

    `links` are ordered from the root to the parent. Raises MissingLink when one of them names a
    parent that is not the one before it: context is never dropped silently. Of an answer that the
    next turn `continues`, by its token, only the question is told again: the token stands for the rest.
    """
    before: str | None = None
    for link in links:
        if link.parent_id != before:
            raise MissingLink(str(link.parent_id))
        before = link.id
    whole = len(links)
    while continues and whole and links[whole - 1].status == status.REQUIRES_CONTINUATION:
        whole -= 1
    return steps.join(
        array
        for position, link in enumerate(links)
        for array in ((link.input, link.output) if position < whole else (link.input,))
    )
