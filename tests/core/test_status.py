"""The statuses and the rules that hang on them."""

import pytest

from app.core import status

STATUSES = {  # status: (has ended, may be continued)
    "queued": (False, False),
    "in_progress": (False, False),
    "requires_action": (True, True),
    "completed": (True, True),
    "incomplete": (True, True),
    "cancelled": (True, True),
    "budget_exceeded": (True, True),
    "requires_continuation": (True, True),
    "failed": (True, False),
    "a_word_of_2031": (True, True),
}


@pytest.mark.parametrize(
    ("value", "ended", "continued"), [(value, *rule) for value, rule in STATUSES.items()]
)
def test_every_status_has_its_rules(value, ended, continued):
    assert status.is_terminal(value) is ended
    assert (status.refusal_as_parent(value) is None) is continued


def test_a_refusal_says_why():
    assert status.refusal_as_parent("queued") == "is still queued; wait until it has ended"
    assert status.refusal_as_parent("failed") == "has failed; continue from the interaction before it"
