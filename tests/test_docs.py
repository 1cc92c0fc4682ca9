"""The documents say what the code does."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from app.admin import cli
from app.settings import Settings

_ROOT = Path(__file__).parents[1]
_README = (_ROOT / "README.md").read_text(encoding="utf-8")
_DOCUMENTS = [*_ROOT.glob("*.md"), *(_ROOT / "docs").rglob("*.md")]


def test_every_setting_is_in_the_readme_with_its_default():
    rows = re.findall(r"^\| `([a-z_.]+)` \| (.*?) \| .+ \|$", _README, re.MULTILINE)
    assert dict(rows) == dict(_settings(Settings))
    assert len(rows) == len(dict(rows))


def test_every_command_is_in_the_readme():
    rows = re.findall(r"^\| `(gateway [a-z -]+)` \| .+ \|$", _README, re.MULTILINE)
    assert sorted(rows) == sorted(_commands(typer.main.get_command(cli.app), "gateway"))


@pytest.mark.parametrize("document", _DOCUMENTS, ids=lambda path: str(path.relative_to(_ROOT)))
def test_every_link_leads_somewhere(document: Path):
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if re.match(r"https?:|mailto:", link):
            continue
        path, _, heading = link.partition("#")
        target = document.parent / path if path else document
        assert target.exists(), link
        if heading:
            assert heading in _headings(target), link


def _settings(section: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    """The names of all settings, as in a file, and their defaults as the table shows them."""
    for name, field in section.model_fields.items():
        inner = [kind for kind in (field.annotation, *get_args(field.annotation)) if _is_section(kind)]
        if not inner or field.default_factory is not None:
            yield prefix + name, _shown(name, field)
        for kind in inner:
            yield from _settings(kind, f"{prefix}{name}.")


def _is_section(kind: Any) -> bool:
    return inspect.isclass(kind) and issubclass(kind, BaseModel)


def _shown(name: str, field: Any) -> str:
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "required"
    if default is None or default == []:
        return "none"
    if isinstance(default, list):
        default = ", ".join(default)
    if name.endswith("_bytes"):
        default = f"{default >> 20} MiB" if default >= 1 << 20 else f"{default >> 10} KiB"
    return f"`{default}`"


def _commands(command: Any, name: str) -> Iterator[str]:
    inner = getattr(command, "commands", None)
    if not inner:
        yield name
        return
    for each, below in inner.items():
        yield from _commands(below, f"{name} {each}")


def _headings(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
