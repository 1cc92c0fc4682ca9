"""Fields: what can be set of a project and of a key, and what the audit log is told of it.

They come as those that are given, and nothing else: null takes one away, what is not given stays;
so do the members of `labels` and `policy`.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar

from app.admin.operations import OperationError
from app.core import rules
from app.core.model import Json
from app.core.policy import Policy
from app.store.keys import Key, Project

T = TypeVar("T", Project, Key)

_LATEST_MS = 253_402_300_799_999  # the end of the year 9999
_MOST_LABELS, _LONGEST_LABEL, _LONGEST_OWNER = 64, 63, 200


def changed(record: T, given: Json) -> T:
    """The record with these fields changed. Raises OperationError."""
    readers = _PROJECT if isinstance(record, Project) else _KEY
    for name in given:
        if name not in readers:
            raise OperationError(f"There is no field '{name}' to be set.")
    try:
        values = {name: readers[name](getattr(record, name), value) for name, value in given.items()}
    except rules.Unreadable as error:
        raise OperationError(str(error)) from None
    return replace(record, **values)


def told(record: Project | Key) -> Json:
    """What the audit log is told of a project or a key: what can be set."""
    found: Json = {
        "name": record.name,
        "owner": record.owner,
        "labels": dict(record.labels),
        "policy": rules.written(record.policy),
    }
    if isinstance(record, Project):
        return {**found, "retention_days": record.retention_days}
    return {**found, "expires_at": record.expires_at}


def named(what: str, name: Any) -> str:
    """The name of a project or a key. Raises OperationError."""
    if not _is_text(name, 100):
        raise OperationError(f"The name of a {what} has 1 to 100 printable characters.")
    return str(name)


def _owner(_before: str | None, owner: Any) -> str | None:
    if owner is not None and not _is_text(owner, _LONGEST_OWNER):
        raise OperationError(f"An owner has 1 to {_LONGEST_OWNER} printable characters.")
    return owner or None


def _labels(before: Mapping[str, str], changes: Any) -> dict[str, str]:
    if not isinstance(changes, dict):
        raise OperationError("Labels are names with values.")
    for name, value in changes.items():
        if not _is_text(name, _LONGEST_LABEL) or not (value is None or _is_text(value, _LONGEST_LABEL)):
            raise OperationError(f"The name and the value of a label have 1 to {_LONGEST_LABEL} characters.")
    labels = {name: value for name, value in {**before, **changes}.items() if value is not None}
    if len(labels) > _MOST_LABELS:
        raise OperationError(f"There are at most {_MOST_LABELS} labels.")
    return labels


def _policy(before: Policy, changes: Any) -> Policy:
    if not isinstance(changes, dict):
        raise OperationError("A policy is an object.")
    return rules.changed(before, changes)


def _number(least: int, most: int, what: str, _before: int | None, value: Any) -> int | None:
    if value is not None and (type(value) is not int or not least <= value <= most):
        raise OperationError(f"{what} is a whole number from {least} to {most}.")
    return value if value is None else int(value)


def _expiry(before: int | None, value: Any) -> int | None:
    found = _number(0, _LATEST_MS, "An expiry, in milliseconds since 1970,", before, value)
    if found is not None and found <= time.time_ns() // 1_000_000:
        raise OperationError("A key cannot expire in the past: revoke it.")
    return found


_PROJECT: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        "owner": _owner,
        "labels": _labels,
        "retention_days": partial(_number, 0, 36_500, "The retention in days"),
        "policy": _policy,
    }
)
_KEY: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        "name": lambda _before, name: named("key", name),
        "owner": _owner,
        "labels": _labels,
        "expires_at": _expiry,
        "policy": _policy,
    }
)


def _is_text(value: Any, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= longest and value.isprintable()
