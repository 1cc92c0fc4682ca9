"""Options that several commands have: labels, moments, and the rules of a policy."""

import functools
import inspect
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import typer

from app.core.model import Json

_LIFTED = "none"
_UNITS = MappingProxyType({"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000})

Owner = Annotated[str | None, typer.Option(help="Whom to ask about it; empty takes it away.")]
Labels = Annotated[
    list[str] | None, typer.Option("--label", help="NAME=VALUE, as often as wanted; NAME= takes it away.")
]


def labels(given: list[str] | None) -> Json:
    """The labels in these options; null is one to be taken away."""
    found: Json = {}
    for each in given or []:
        name, mark, value = each.partition("=")
        if not mark:
            raise typer.BadParameter("a label is NAME=VALUE", param_hint="'--label'")
        found[name] = value or None
    return found


def duration(text: str, option: str) -> int:
    """Milliseconds, from 90s, 30m, 24h or 7d."""
    found = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if found is None:
        raise typer.BadParameter("use 90s, 30m, 24h or 7d", param_hint=f"'{option}'")
    return int(found[1]) * _UNITS[found[2]]


def moment(text: str, option: str) -> int | None:
    """Milliseconds since 1970, from a duration from now on or a date in UTC; None for `none`."""
    if text == _LIFTED:
        return None
    if re.fullmatch(r"[0-9]+[smhd]", text):
        return time.time_ns() // 1_000_000 + duration(text, option)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter("use 90d, 2030-12-31 or none", param_hint=f"'{option}'") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


def past(text: str, option: str) -> int:
    """Milliseconds since 1970, from how long ago it was or a date in UTC."""
    if re.fullmatch(r"[0-9]+[smhd]", text):
        return time.time_ns() // 1_000_000 - duration(text, option)
    found = moment(text, option)
    if found is None:
        raise typer.BadParameter("use 90d or 2030-12-31", param_hint=f"'{option}'")
    return found


def given(**options: Any) -> Json:
    """The fields to set: the options that were given. An empty text is null."""
    return {
        name: None if value == "" else value for name, value in options.items() if value not in (None, {})
    }


def with_policy(command: Callable[..., None]) -> Callable[..., None]:
    """The command with an option for each rule that it has none for; it gets those given as `policy`."""
    signature = inspect.signature(command)
    own = [each for name, each in signature.parameters.items() if name != "policy"]
    rules = [rule for rule in _RULES if rule not in signature.parameters]
    added = [
        inspect.Parameter(
            rule, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_RULES[rule].annotation(rule)
        )
        for rule in rules
    ]

    @functools.wraps(command)
    def with_rules(**options: Any) -> None:
        texts = {rule: options.pop(rule) for rule in rules}
        policy = {rule: _RULES[rule].value(rule, text) for rule, text in texts.items() if text is not None}
        command(**options, policy=policy)

    with_rules.__annotations__ = {each.name: each.annotation for each in (*own, *added)}
    vars(with_rules)["__signature__"] = signature.replace(parameters=[*own, *added])
    return with_rules


class _Rule(NamedTuple):
    """How an option for a rule is read, and what its help says; `many` is its name if it may be repeated."""

    read: Callable[[Any], Any]
    help: str
    form: str = "a whole number, or none"
    many: str = ""

    def option(self, rule: str) -> str:
        """The option for this rule."""
        return self.many or f"--{rule.replace('_', '-')}"

    def annotation(self, rule: str) -> Any:
        """The type of the command's parameter."""
        option = typer.Option(self.option(rule), help=self.help, show_default=False)
        return Annotated[list[str] | None, option] if self.many else Annotated[str | None, option]

    def value(self, rule: str, given: Any) -> Any:
        """The rule in what was given."""
        try:
            return self.read(given)
        except ValueError:
            raise typer.BadParameter(f"use {self.form}", param_hint=f"'{self.option(rule)}'") from None


def _allowed(text: str) -> list[str] | None:
    return None if text == "any" else _denied(text) or []


def _denied(text: str) -> list[str] | None:
    return None if text == _LIFTED else [each.strip() for each in text.split(",") if each.strip()]


def _count(text: str) -> int | None:
    return None if text == _LIFTED else int(text)


def _model_limits(texts: list[str]) -> Json | None:
    """What the options say, as `rules.changed` takes it; one that is `none` takes all away."""
    if texts == [_LIFTED]:
        return None
    found: Json = {}
    for text in texts:
        pattern, mark, limits = text.rpartition(":")
        if not mark:
            raise ValueError(text)
        if limits == _LIFTED:
            found[pattern] = None
            continue
        pairs = (each.partition("=") for each in limits.split(","))
        found[pattern] = (found.get(pattern) or {}) | {name: _count(limit) for name, _, limit in pairs}
    return found


_RULES: Mapping[str, _Rule] = MappingProxyType(
    {
        "models": _Rule(_allowed, "Patterns of allowed models, as gemini-*,gemma-*; any; none."),
        "agents": _Rule(_allowed, "Patterns of allowed agents; any; none."),
        "deny_tools": _Rule(_denied, "Types of tools that are refused, as mcp_server,code_execution; none."),
        "networks": _Rule(_allowed, "Where requests may come from, as 10.0.0.0/8,2001:db8::/32; any."),
        "max_output_tokens": _Rule(_count, "More output is refused, and nothing means this much; none."),
        "store": _Rule(str, "client: as the request says; never; always."),
        "retention_days": _Rule(_count, "Keep interactions no longer than this; 0 keeps no content; none."),
        "rpm": _Rule(_count, "Requests in a minute; none."),
        "tpm": _Rule(_count, "Tokens in a minute; none."),
        "concurrent": _Rule(_count, "Runs at the same time; none."),
        "model_limits": _Rule(
            _model_limits,
            "The same for some models, as 'gemini-*:rpm=10,tpm=1000,concurrent=2'; as often as wanted; "
            "'gemini-*:none', none.",
            "PATTERN:rpm=10,tpm=1000,concurrent=2, PATTERN:none, or none",
            "--model-limit",
        ),
    }
)
