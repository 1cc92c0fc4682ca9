"""The chain of the audit log."""

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest

from app.core import audit
from app.core.audit import Record

RECORD = Record(
    "prj", 1, "aud_1", 2, "key", "key_1", "::1", "req_1", "interaction.get", "v1_ä", "ok", 0, 9, '{"n":1.0}'
)
SECRET = b"secret"


def test_a10_a_record_is_hashed_as_anybody_can_write_it():
    text = json.dumps(RECORD.fields(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert audit.canonical(RECORD.fields()) == text.encode()
    assert audit.link(audit.START, RECORD.fields()) == hashlib.sha256(bytes(32) + text.encode()).digest()


@pytest.mark.parametrize("name", Record.__slots__)
def test_a10_every_field_counts(name):
    another: Any = 77 if isinstance(getattr(RECORD, name), int) else "another"
    changed = replace(RECORD, **{name: another})
    assert audit.link(audit.START, changed.fields()) != audit.link(audit.START, RECORD.fields())


def test_a10_an_end_is_genuine_only_as_it_was_signed():
    head = audit.signed(SECRET, "prj", 3, b"x" * 32)
    assert head.genuine(SECRET)
    assert not head.genuine(b"another")
    for change in ({"project_id": "prk"}, {"seq": 2}, {"hash": b"y" * 32}, {"signature": b""}):
        assert not head._replace(**change).genuine(SECRET)


def test_which_chains_there_are_is_signed_in_any_order():
    assert audit.chains(SECRET, ["a", "b"]) == audit.chains(SECRET, ["b", "a"])
    assert audit.chains(SECRET, ["a"]).hash != audit.chains(SECRET, ["b"]).hash


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        (None, None),
        ("files/a b", "files/a b"),
        ("a\0b", "a\\x00b"),
        ("\ud800", "\\ud800"),
        ("a\nb", "a\\nb"),
        ("x" * 600, "x" * 512),
    ],
)
def test_names_are_what_a_database_can_hold(text, plain):
    assert audit.plain(text) == plain
