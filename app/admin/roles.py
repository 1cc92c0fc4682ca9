"""Roles: what the bearer of a token may do. Whatever a role does not name, it may not."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from app.auth.bearers import OWNER, Bearer
from app.errors import PermissionDenied


class Right(StrEnum):
    """What can be allowed."""

    METADATA = "read metadata"
    CONTENT = "read content"
    AUDIT = "read the audit log"
    CHANGE = "change anything"
    KEYS = "make keys"
    TOKENS = "manage tokens"


ROLES: Mapping[str, frozenset[Right]] = MappingProxyType(
    {
        OWNER: frozenset(Right),
        "operator": frozenset({Right.METADATA, Right.CHANGE}),
        "auditor": frozenset({Right.METADATA, Right.CONTENT, Right.AUDIT}),
        "viewer": frozenset({Right.METADATA}),
    }
)


def require(bearer: Bearer, right: Right) -> None:
    """Raises PermissionDenied, naming the role and what it lacks."""
    if right not in ROLES.get(bearer.role, frozenset()):
        raise PermissionDenied(f"The role '{bearer.role}' may not {right}.")
