"""The past of a new interaction: the conversation that it continues."""

from dataclasses import dataclass

from app.core import chain, status, steps
from app.core.model import Request
from app.errors import FailedPrecondition, InvalidRequest, NotFound
from app.settings import Limits
from app.store.interactions import Interactions, Parent


@dataclass(frozen=True, slots=True)
class Past:
    """What a new interaction continues: its parent, and all steps so far as a JSON array."""

    parent: Parent | None
    history: bytes


async def load(interactions: Interactions, limits: Limits, project_id: str, request: Request) -> Past:
    """What a request continues, whole or not at all.

    Raises NotFound when there is no such parent, FailedPrecondition when it cannot be continued or
    a link above it is gone, InvalidRequest when the conversation has become too long.
    """
    parent_id = request.previous_interaction_id
    if parent_id is None:
        return Past(None, steps.NONE)
    parent = await interactions.parent(project_id, parent_id)
    if parent is None:
        raise _absent(parent_id)
    if refusal := status.refusal_as_parent(parent.status):
        raise FailedPrecondition(f"'previous_interaction_id': {parent_id} {refusal}.")
    if parent.depth + 1 >= limits.chain_turns:
        raise InvalidRequest(f"The conversation has reached its limit of {limits.chain_turns} turns.")
    if parent.history_bytes > limits.chain_bytes:
        raise InvalidRequest(f"The conversation has reached its limit of {limits.chain_bytes} bytes.")
    return Past(parent, await history(interactions, project_id, request))


async def history(interactions: Interactions, project_id: str, request: Request) -> bytes:
    """All steps of what a request continues that has been accepted: what expires meanwhile still counts.

    Raises NotFound and FailedPrecondition as above, when something has been deleted.
    """
    parent_id = request.previous_interaction_id
    if parent_id is None:
        return steps.NONE
    links = await interactions.chain(project_id, parent_id)
    if not links:
        raise _absent(parent_id)
    try:
        return chain.history(links, continues="continuation_token" in request.options)
    except chain.MissingLink as missing:
        text = f"'previous_interaction_id': {missing.id}, an earlier turn of {parent_id}, is gone."
        raise FailedPrecondition(text) from None


def _absent(interaction_id: str) -> NotFound:
    return NotFound(f"Interaction not found: {interaction_id}")
