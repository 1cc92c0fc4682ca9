"""The allow-list: which paths are calls, and whose the names are."""

import pytest

from app.wire import resources

INSIDE = "environments/e/files/"


@pytest.mark.parametrize("path", ["a b/100%.txt", "100%25", "src/:x=~", "é", ""])
def test_the_rest_of_a_path_may_be_almost_anything(path: str) -> None:
    call = resources.match("GET", INSIDE + path)
    assert call is not None
    assert call.own == "environments/e"


@pytest.mark.parametrize(
    "path", ["..", "../x", "a/./b", "a//b", "%2e%2e/x", "a/%2E./b", "a%2f..%2fb", "a\nb", "a\0", "\ufffd"]
)
def test_a8_what_somebody_could_read_as_another_path_is_not_on_the_list(path: str) -> None:
    """Also who decodes it once more than the gateway."""
    assert resources.match("GET", INSIDE + path) is None
    assert resources.owner(INSIDE + path) == ""
