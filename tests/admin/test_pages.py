"""Every list of the admin API a page at a time: nothing twice, nothing left out, whatever comes meanwhile."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.gateway import Gateway


def pages(admin: httpx.Client, noun: str, between: Callable[[], Any], **query: Any) -> list[Any]:
    """All of a list, two at a time, with something that happens after each page."""
    found: list[Any] = []
    key = noun.strip("/").replace("retention", "due").replace("audit", "records")
    for _ in range(200):
        said = admin.get(noun, params={"page_size": 2, **query})
        assert said.status_code == 200, said.text
        assert len(said.json()[key]) <= 2
        found += said.json()[key]
        query["page_token"] = said.json()["next_page_token"]
        if query["page_token"] is None:
            return found
        between()
    raise AssertionError("this list has no end")


@pytest.fixture
def team(admin: httpx.Client) -> str:
    """A project with five keys, holds and budgets, whose names no other has."""
    name = f"paged-{len(admin.get('/projects?page_size=200').json()['projects'])}"
    assert admin.post("/projects", json={"name": name}).status_code == 200
    for number in range(5):
        key = admin.post("/keys", json={"project": name, "name": f"key {number}"}).json()["id"]
        hold = {"project": name, "kind": "key", "target": key, "reason": f"case {number}"}
        assert admin.post("/holds", json=hold).status_code == 200
        budget = {"project": name, "key_id": key, "period": "day", "tokens": number}
        assert admin.post("/budgets", json=budget).status_code == 200
    return name


class Sometimes:
    """Something that happens twice, and then no more: the list shall have an end."""

    def __init__(self, what: Callable[[], Any]) -> None:
        self._what, self._left = what, 2

    def __call__(self) -> None:
        self._left -= 1
        if self._left >= 0:
            self._what()


def test_lists_are_stable_under_inserts(admin: httpx.Client, team: str) -> None:
    def more() -> None:
        key = admin.post("/keys", json={"project": team, "name": "later"}).json()["id"]
        hold = {"project": team, "kind": "key", "target": key, "reason": "later"}
        assert admin.post("/holds", json=hold).status_code == 200
        budget = {"project": team, "key_id": key, "period": "day", "tokens": 99}
        assert admin.post("/budgets", json=budget).status_code == 200

    def nothing() -> None:
        pass

    for noun, field, first in (
        ("/keys", "name", [f"key {number}" for number in range(5)]),
        ("/holds", "reason", [f"case {number}" for number in range(5)]),
        ("/budgets", "amount", [*range(5)]),
    ):
        found = pages(admin, noun, nothing, project=team)
        assert [each[field] for each in found][:5] == first, noun
        whole = admin.get(noun, params={"project": team, "page_size": 200}).json()[noun.strip("/")]
        assert [each["id"] for each in found] == [each["id"] for each in whole]
        found = pages(admin, noun, Sometimes(more), project=team)
        assert [each[field] for each in found][:5] == first, noun
        assert len({each["id"] for each in found}) == len(found) >= 7
        everybody = pages(admin, noun, nothing)
        assert {each["id"] for each in found} <= {each["id"] for each in everybody}


def test_what_was_done_used_and_is_due_comes_in_pages(
    process: Gateway, admin: httpx.Client, team: str
) -> None:
    key = admin.post("/keys", json={"project": team, "name": "used"}).json()["key"]
    made = [process.create(key, input="Hi", model=f"model-{number}")["id"] for number in range(5)]

    def more() -> None:
        process.create(key, input="Hi", model="model-0")

    listed = pages(admin, "/interactions", more, project=team)
    assert [each["id"] for each in listed] == made[::-1]
    [one] = admin.get("/interactions", params={"project": team, "model": "model-3"}).json()["interactions"]
    assert one["id"] == made[3]
    records = pages(admin, "/audit", more, project=team)
    assert len({each["id"] for each in records}) == len(records)
    assert [each["at"] for each in records] == sorted((each["at"] for each in records), reverse=True)
    used = pages(admin, "/usage", lambda: None, project=team, by="model")
    assert [each["group"] for each in used] == [f"model-{number}" for number in range(5)]
    assert sum(each["calls"] for each in pages(admin, "/usage", lambda: None, project=team)) >= 5
    hold = {"project": team, "kind": "interaction", "target": made[0], "reason": "case 9"}
    assert admin.post("/holds", json=hold).status_code == 200
    for days in (1, 2, 3):
        admin.patch(f"/projects/{team}", json={"retention_days": days})
        process.create(admin.post("/keys", json={"project": team, "name": "k"}).json()["key"], input="Hi")
    due = pages(admin, "/retention", lambda: None, project=team)
    assert [each["day"] for each in due] == sorted({each["day"] for each in due})
    assert len(due) == 4
    assert sum(each["interactions"] for each in due) == len(
        pages(admin, "/interactions", print, project=team)
    )
    assert sum(each["held"] for each in due) == 1
    assert {each["project"] for each in pages(admin, "/retention", lambda: None)} >= {team}
