"""The statuses of an interaction and the few rules that hang on them."""

QUEUED = "queued"
IN_PROGRESS = "in_progress"
REQUIRES_ACTION = "requires_action"
REQUIRES_CONTINUATION = "requires_continuation"
COMPLETED = "completed"
FAILED = "failed"
CANCELLED = "cancelled"
INCOMPLETE = "incomplete"

_RUNNING = frozenset({QUEUED, IN_PROGRESS})


def is_terminal(status: str) -> bool:
    """Whether an interaction with this status has ended.

    Every status that does not say "running" is an end, so that a status this version has
    never heard of (an upstream's new word) ends a run instead of leaving it open for ever.
    """
    return status not in _RUNNING


def refusal_as_parent(status: str) -> str | None:
    """Why an interaction with this status cannot be continued, or None when it can."""
    if status in _RUNNING:
        return f"is still {status}; wait until it has ended"
    if status == FAILED:
        return "has failed; continue from the interaction before it"
    return None
