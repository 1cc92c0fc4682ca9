"""What the audit log says: who did what, with which outcome, and how its records are chained.

The log of a project is a chain: the hash of a record is SHA-256 over the hash of the one before and
the record's own canonical text. How far each chain goes is signed, so that its end cannot be cut
off unnoticed. Nothing here is content, and nothing is a secret.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import orjson

from app.core.model import Json

GATEWAY = "gateway"
"""The chain of what concerns no single project."""

CHAINS = ""
"""Stands for the list of all chains where each has its head: it is signed, too."""

START = bytes(32)
"""The hash before the first record."""

_LONGEST = 512


class Actor(NamedTuple):
    """Who did it: `kind` is key, admin, cli or system; `name` says which one."""

    kind: str
    name: str | None
    address: str | None = None
    request_id: str | None = None


class Entry(NamedTuple):
    """One thing that somebody did or tried; `outcome` is "ok" or an error's code.

    `details` are facts like an admin change's `before` and `after`: never content, never secrets.
    """

    project_id: str
    actor: Actor
    action: str
    target: str | None
    outcome: str = "ok"
    bytes_in: int = 0
    bytes_out: int = 0
    details: Json | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """An entry as it is stored. `seq` is its number in its chain, once it is sealed.

    `details` is JSON text, and is hashed as such: nobody has to write a number as we do.
    """

    project_id: str
    seq: int | None
    id: str
    at: int
    actor_kind: str
    actor: str | None
    address: str | None
    request_id: str | None
    action: str
    target: str | None
    outcome: str
    bytes_in: int
    bytes_out: int
    details: str | None

    def fields(self) -> Json:
        """The record as a JSON object."""
        return {name: getattr(self, name) for name in self.__slots__}


class Head(NamedTuple):
    """How far a chain goes, signed: the number and the hash of its last record."""

    project_id: str
    seq: int
    hash: bytes
    signature: bytes

    def genuine(self, *secrets: bytes) -> bool:
        """Whether this was signed with one of these secrets."""
        return any(hmac.compare_digest(self.signature, signed(each, *self[:3]).signature) for each in secrets)


def canonical(fields: Json) -> bytes:
    """The text of a record that is hashed: a JSON object in UTF-8, sorted by name, without spaces."""
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def link(before: bytes, fields: Json) -> bytes:
    """The hash of the record with these fields behind the one with the hash `before`."""
    return hashlib.sha256(before + canonical(fields)).digest()


def signed(secret: bytes, project_id: str, seq: int, last: bytes) -> Head:
    """A chain's head with its signature."""
    text = f"{project_id}\0{seq}\0{last.hex()}".encode()
    return Head(project_id, seq, last, hmac.digest(secret, text, "sha256"))


def chains(secret: bytes, projects: Iterable[str]) -> Head:
    """The head that says which chains there are: one that goes as a whole is missed."""
    names = sorted(projects)
    return signed(secret, CHAINS, len(names), hashlib.sha256("\n".join(names).encode()).digest())


def plain(text: str | None) -> str | None:
    """A name as the log keeps it: not too long, and nothing that a database or JSON cannot hold."""
    if text is None or (len(text) <= _LONGEST and text.isprintable()):
        return text
    return text[:_LONGEST].encode("unicode_escape").decode()
