"""Rules as they are written: the fields of a policy, as an operator gives them and as they are stored."""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import partial
from ipaddress import ip_network
from types import MappingProxyType
from typing import Any, get_args

from app.core.model import Json
from app.core.policy import Network, Policy, Store, shown
from app.core.quota import ModelLimits, Rates

_MOST_ENTRIES, _LONGEST_GLOB, _LARGEST = 100, 256, 2**53
_GLOB = re.compile(r"[A-Za-z0-9_.:/@*?-]+")
_TOOL_GLOB = re.compile(r"[a-z0-9_*?]+")


class Unreadable(ValueError):
    """This is no policy; the message names the field."""


def read(given: Json) -> Policy:
    """The policy of these fields; null is a rule that is not there. Raises Unreadable."""
    return Policy(**_read_fields(_READERS, "", given))


def written(policy: Policy) -> Json:
    """The fields of a policy that has not been combined: `read` makes it again."""
    found: Json = {}
    for field in fields(policy):
        value = getattr(policy, field.name)
        if value != field.default:
            found[field.name] = _WRITERS[field.name](value) if field.name in _WRITERS else value
    return found


def changed(policy: Policy, changes: Json) -> Policy:
    """The policy with these fields changed, as a JSON merge patch: null takes a rule away.

    Raises Unreadable.
    """
    return read(_merged(written(policy), changes))


def _merged(before: Any, changes: Any) -> Any:
    if not isinstance(changes, dict):
        return changes
    kept = before if isinstance(before, dict) else {}
    merged = {**kept, **{name: _merged(kept.get(name), value) for name, value in changes.items()}}
    return {name: value for name, value in merged.items() if value is not None}


def _read_fields(readers: Mapping[str, Callable[[str, Any], Any]], inside: str, given: Json) -> Json:
    unknown = sorted(given.keys() - readers.keys())
    if unknown:
        raise Unreadable(f"'{inside}{shown(unknown[0])}': a policy has no such field.")
    return {name: readers[name](inside + name, value) for name, value in given.items() if value is not None}


def _read_globs(shape: re.Pattern[str], name: str, value: Any) -> tuple[str, ...]:
    entries = _read_list(name, value)
    for entry in entries:
        if len(entry) > _LONGEST_GLOB or not shape.fullmatch(entry):
            raise Unreadable(f"'{name}': '{shown(entry)}' is no pattern of names.")
    return entries


def _read_networks(name: str, value: Any) -> tuple[tuple[Network, ...]]:
    try:
        return (tuple(ip_network(entry) for entry in _read_list(name, value)),)
    except ValueError as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"'{name}': {error}: write networks as 10.0.0.0/8.") from None


def _read_list(name: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(entry, str) for entry in value):
        raise Unreadable(f"'{name}' must be a list of texts.")
    if len(value) > _MOST_ENTRIES:
        raise Unreadable(f"'{name}' has more than {_MOST_ENTRIES} entries.")
    return tuple(dict.fromkeys(value))


def _read_store(name: str, value: Any) -> Store:
    if value not in get_args(Store):
        raise Unreadable(f"'{name}' is one of {', '.join(get_args(Store))}.")
    found: Store = value
    return found


def _read_number(least: int, most: int, name: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise Unreadable(f"'{name}' must be a whole number from {least} to {most}.")
    return value


def _read_model_limits(name: str, value: Any) -> ModelLimits:
    """By pattern, sorted; a pattern without a limit is none."""
    given = _read_object(name, value)
    patterns = _read_globs(_GLOB, name, tuple(given))
    found = ((pattern, _read_rates(f"{name}.{pattern}", given[pattern])) for pattern in sorted(patterns))
    return tuple((pattern, rates) for pattern, rates in found if rates != Rates())


def _read_rates(name: str, value: Any) -> Rates:
    return Rates(**_read_fields(_RATES, f"{name}.", _read_object(name, {} if value is None else value)))


def _read_object(name: str, value: Any) -> Json:
    if not isinstance(value, dict):
        raise Unreadable(f"'{name}' must be an object.")
    return value


def _write_model_limits(limits: ModelLimits) -> Json:
    return {
        pattern: {name: limit for name, limit in rates._asdict().items() if limit is not None}
        for pattern, rates in limits
    }


_COUNT = partial(_read_number, 1, _LARGEST)
_RATES: Mapping[str, Callable[[str, Any], Any]] = MappingProxyType(dict.fromkeys(Rates._fields, _COUNT))
_READERS: Mapping[str, Callable[[str, Any], Any]] = MappingProxyType(
    {
        "models": lambda name, value: (_read_globs(_GLOB, name, value),),
        "agents": lambda name, value: (_read_globs(_GLOB, name, value),),
        "deny_tools": partial(_read_globs, _TOOL_GLOB),
        "networks": _read_networks,
        "max_output_tokens": _COUNT,
        "store": _read_store,
        "retention_days": partial(_read_number, 0, 36_500),
        **_RATES,
        "model_limits": _read_model_limits,
    }
)
_WRITERS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {
        "models": lambda groups: list(groups[0]),
        "agents": lambda groups: list(groups[0]),
        "deny_tools": list,
        "networks": lambda groups: [str(network) for network in groups[0]],
        "model_limits": _write_model_limits,
    }
)
