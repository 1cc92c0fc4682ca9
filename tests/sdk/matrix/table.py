"""The table of docs/compatibility.md, between the two marks there."""

import re

from tests.sdk.matrix.running import Outcome
from tests.sdk.matrix.versions import ROOT, Version

DOCUMENT = ROOT / "docs" / "compatibility.md"
_BEGIN, _END = "<!-- results -->\n", "<!-- end of results -->"
_SIGNS = {"ok": "✓", "skipped": "–", "failed": "✗"}


def table(results: dict[Version, list[Outcome]]) -> str:
    """A row for each scenario, a column for each version, and why something is missing."""
    names = [outcome.name for outcome in next(iter(results.values()))]
    by_name = {
        version: {outcome.name: outcome for outcome in outcomes} for version, outcomes in results.items()
    }
    rows = [
        ["", *(f"{version.language}<br>{version.number}" for version in results)],
        ["---", *(":-:" for _ in results)],
        *([_words(name), *(_sign(by_name[version].get(name)) for version in results)] for name in names),
    ]
    reasons = {
        f"- {_words(outcome.name)}: {outcome.detail}"
        for outcomes in results.values()
        for outcome in outcomes
        if outcome.result == "skipped"
    }
    lines = [*(f"| {' | '.join(row)} |" for row in rows), "", f"{_SIGNS['skipped']} stands for:", ""]
    return "\n".join([*lines, *sorted(reasons), ""])


def committed() -> str:
    """The table as it stands in the document."""
    return _split()[1]


def write(new: str) -> None:
    """Put this table into the document."""
    before, _, after = _split()
    DOCUMENT.write_text(before + new + after, encoding="utf-8")


def _split() -> tuple[str, str, str]:
    text = DOCUMENT.read_text(encoding="utf-8")
    found = re.fullmatch(f"(.*{_BEGIN}\n)(.*)(\n{_END}.*)", text, re.DOTALL)
    assert found, f"{DOCUMENT.name} has no place for the table"
    return found[1], found[2], found[3]


def _words(name: str) -> str:
    return name.replace("_", " ").replace("servers", "server's")


def _sign(outcome: Outcome | None) -> str:
    return _SIGNS[outcome.result] if outcome else _SIGNS["failed"]
