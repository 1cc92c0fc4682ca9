"""`gateway budgets` and `gateway usage`."""

import csv
import io
from typing import Any

import pytest

from app.core.usage import Usage
from app.store.database import Database
from app.store.ledger import Charge, Ledger
from tests.admin.conftest import Command


@pytest.fixture
def project(command: Command) -> str:
    """A project of its own; its id."""
    assert command("projects", "create", "red").code == 0
    return str(command("projects", "list", "--json").json()[0]["id"])


def budget(command: Command, *more: str) -> dict[str, Any]:
    return dict(command("budgets", "set", "--project", "red", "--period", "month", *more, "--json").json())


def test_a_budget_is_made_changed_and_removed(command: Command, project: str) -> None:
    made = budget(command, "--money", "12.50")
    assert (made["amount"], made["spent"], made["unit"], made["hard"]) == ("12.50", "0.00", "money", True)
    changed = budget(command, "--money", "20", "--soft")
    assert (changed["id"], changed["amount"], changed["hard"]) == (made["id"], "20.00", False)
    assert [each["id"] for each in command("budgets", "list", "--json").json()] == [made["id"]]
    assert command("budgets", "remove", made["id"]).code == 0
    assert command("budgets", "list", "--json").json() == []
    assert "no budget" in command("budgets", "remove", made["id"]).refusal(1)


def test_budgets_of_another_unit_or_key_are_others(command: Command, project: str) -> None:
    key = command("keys", "create", "--project", "red", "--name", "one", "--json").json()["id"]
    ids = {
        budget(command, *more)["id"]
        for more in (["--money", "1"], ["--tokens", "5"], ["--tokens", "5", "--key", key])
    }
    assert len(ids) == 3
    listed = command("budgets", "list", "--project", "red", "--json").json()
    assert {(each["unit"], each["key_id"]) for each in listed} == {
        ("money", None),
        ("tokens", None),
        ("tokens", key),
    }


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (["--money", "-1"], "no amount"),
        (["--money", "0.0000001"], "no amount"),
        (["--money", "NaN"], "no amount"),
        (["--money", "1e3"], "no amount"),
        (["--money", "1", "--tokens", "1"], "either"),
        ([], "either"),
        (["--money", "1", "--key", "key_unknown"], "no key"),
        (["--money", "1", "--alert-url", "https://example.com"], "egress"),
    ],
)
def test_w1_a_budget_that_makes_no_sense_is_refused(
    command: Command, project: str, more: list[str], complaint: str
) -> None:
    assert complaint in command("budgets", "set", "-p", "red", "--period", "day", *more).refusal(1)
    week = command("budgets", "set", "-p", "red", "--period", "week", "--money", "1")
    assert (week.code, "--period" in week.err) == (2, True)


def test_every_change_of_a_budget_is_in_the_audit_log(command: Command, project: str) -> None:
    made = budget(command, "--money", "12.50")
    budget(command, "--money", "20")
    command("budgets", "remove", made["id"])
    listed = command("audit", "list", "--project", "red", "--json").json()
    changes = [each for each in listed if each["action"].startswith("budget.")]
    assert sorted(each["action"] for each in changes) == ["budget.remove", "budget.set", "budget.set"]
    assert {each["target"] for each in changes} == {made["id"]}


@pytest.fixture
async def used(command: Command, project: str, database: Database) -> None:
    """Two calls, one of a model without a price."""
    for number, cost in enumerate((1_250_000, None)):
        charge = Charge(
            call_id=f"call_{number}",
            project_id=project,
            key_id="key_1",
            kind="interaction",
            upstream="simulator",
            credential=None,
            model=f"=model-{number}",
            status="completed",
            usage=Usage(input_tokens=10, total_tokens=10),
            labels={"team": "red"},
            cost=cost,
        )
        await Ledger(database).write(charge)


@pytest.mark.parametrize(
    ("by", "groups"),
    [("project", ["red"]), ("key", ["key_1"]), ("label", ["team=red"]), ("model", ["=model-0", "=model-1"])],
)
def test_usage_is_told_by_what_is_asked(command: Command, used: None, by: str, groups: list[str]) -> None:
    said = command("usage", "--by", by, "--json").json()
    assert [each["group"] for each in said] == groups
    assert sum(each["calls"] for each in said) == 2
    assert sum(each["unpriced"] for each in said) == 1
    assert said[0]["cost_usd"] == "1.25"
    if by == "model":
        assert said[1]["cost_usd"] is None


def test_usage_as_csv_holds_no_formulas(command: Command, used: None) -> None:
    rows = list(csv.DictReader(io.StringIO(command("usage", "--by", "model", "--csv").out)))
    assert [(row["group"], row["cost_usd"]) for row in rows] == [("'=model-0", "1.25"), ("'=model-1", "")]


def test_usage_of_some_days(command: Command, used: None) -> None:
    assert [
        each["calls"] for each in command("usage", "--since", "1d", "--until", "today", "--json").json()
    ] == [2]
    assert command("usage", "--until", "2020-01-01", "--since", "2019-01-01", "--json").json() == []
    assert command("usage", "--project", "red", "--label", "team=blue", "--json").json() == []
    for wrong in (["--since", "yesterday"], ["--by", "weather"], ["--label", "red"]):
        said = command("usage", *wrong)
        assert (said.code, wrong[0] in said.err) == (2, True), said
