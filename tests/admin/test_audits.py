"""The audit log verified: whatever is done to it past the gateway is found and named."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.admin.audits import Audits
from app.admin.chains import Chains, Verified
from app.admin.questions import AuditAsked
from app.auth import pepper
from app.core import audit
from app.core.audit import Actor
from app.core.listing import ALL, Span
from app.core.versions import Versions
from app.settings import Settings
from app.store.audit import Audit
from app.store.database import Database
from tests.admin.conftest import PEPPER
from tests.support.audited import (
    add_behind,
    edit,
    entry,
    forget_chain,
    forget_end,
    harmed,
    remove,
    rewind,
    sealer,
    slip_in,
    swap,
    truncate,
    written,
)

MINE, THEIRS = "prj_mine", "prj_theirs"
SECRET = pepper.audit_secret(PEPPER.encode())
DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def audits(database: Database) -> Audits:
    return Audits(Settings(pepper=SecretStr(PEPPER)), database, Actor("cli", "somebody"))


@pytest.fixture
async def sealed(database: Database) -> Database:
    """Ten sealed records of MINE, three of THEIRS."""
    await written(database, MINE, 10)
    await written(database, THEIRS, 3)
    assert await sealer(database, SECRET).seal() == 13
    return database


async def verified(audits: Audits) -> dict[str, Verified]:
    return {each.project_id: each for each in await audits.verify()}


async def test_a10_what_nobody_touched_is_in_order(sealed, audits):
    found = await verified(audits)
    assert set(found) == {audit.CHAINS, MINE, THEIRS}
    assert all(each.ok and each.first_bad is None for each in found.values())
    assert [found[each].records for each in (MINE, THEIRS)] == [10, 3]


async def test_a10_an_empty_log_is_in_order(audits):
    assert [each.ok for each in await audits.verify()] == [True]


HARM = {
    "edit": (edit(MINE, 4, outcome="not_found"), 4),
    "edit of the first": (edit(MINE, 1, actor="key_2"), 1),
    "edit of the last": (edit(MINE, 10, bytes_out=1), 10),
    "edit of details": (edit(MINE, 4, details=b'{"n": 4}'), 4),
    "details that are no text": (edit(MINE, 4, details=b"\xff"), 4),
    "edit of a hash": (edit(MINE, 4, hash=bytes(32)), 4),
    "removal": (remove(MINE, 4), 4),
    "removal of the first": (remove(MINE, 1), 1),
    "removal of the last": (remove(MINE, 10), 10),
    "truncation": (truncate(MINE, 7), 7),
    "truncation of everything": (truncate(MINE, 1), 1),
    "reorder": (swap(MINE, 4, 5), 4),
    "insertion": (slip_in(MINE, 4), 4),
    "insertion behind the end": (add_behind(MINE, 11), 11),
    "truncation with the end": (rewind(MINE, 6), 6),
    "removal of the end": (forget_end(MINE), 1),
}


@pytest.mark.parametrize("harm", HARM)
async def test_a10_any_change_is_found_and_its_first_record_named(sealed, audits, harm):
    how, first_bad = HARM[harm]
    await harmed(sealed, how)
    found = await verified(audits)
    assert (found[MINE].ok, found[MINE].first_bad) == (False, first_bad), found[MINE]
    assert found[THEIRS].ok


@pytest.mark.parametrize(
    "harm", ["truncation with the end", "removal of the end", "insertion behind the end"]
)
async def test_a10_sealing_does_not_cover_up_what_was_done(sealed, audits, harm):
    how, first_bad = HARM[harm]
    await harmed(sealed, how)
    await written(sealed, MINE, 5)
    await written(sealed, THEIRS, 5)
    assert await sealer(sealed, SECRET).seal() == 5  # of the others
    found = await verified(audits)
    assert (found[MINE].ok, found[MINE].first_bad, found[MINE].unsealed) == (False, first_bad, 5)
    assert (found[THEIRS].ok, found[THEIRS].records) == (True, 8)


async def test_a10_a_chain_that_is_gone_as_a_whole_is_missed(sealed, audits):
    await harmed(sealed, forget_chain(MINE))
    assert [each.project_id for each in await audits.verify() if not each.ok] == [audit.CHAINS]
    await written(sealed, MINE, 1)
    assert await sealer(sealed, SECRET).seal() == 0


async def test_a11_with_another_pepper_no_end_is_genuine(sealed, database):
    other = Audits(Settings(pepper=SecretStr(PEPPER[::-1])), database, Actor("cli", None))
    assert [each.ok for each in await other.verify()] == [False, False, False]


async def test_the_newest_records_can_be_looked_at_alone(sealed):
    await harmed(sealed, edit(MINE, 4, outcome="not_found"))
    newest = {each.project_id: each for each in await Chains(Audit(sealed), Versions(SECRET)).all(newest=6)}
    assert newest[MINE].ok
    newest = {each.project_id: each for each in await Chains(Audit(sealed), Versions(SECRET)).all(newest=7)}
    assert newest[MINE].first_bad == 4


async def test_a_broken_chain_goes_on_when_somebody_answers_for_it(sealed, audits):
    await harmed(sealed, rewind(MINE, 6))
    await audits.accept(MINE, "restored from a backup")
    assert await sealer(sealed, SECRET).seal() == 1
    found = await verified(audits)
    assert all(each.ok for each in found.values())
    last = (await audits.records(AuditAsked(project=MINE), Span(1)))[0]
    assert (last.seq, last.action) == (7, "audit.accept")
    details = json.loads(last.details or "")
    assert (details["reason"], details["before"]["seq"]) == ("restored from a backup", 6)


async def test_records_are_listed_newest_first_sealed_or_not(sealed, audits):
    await Audit(sealed).write(entry(MINE, 11, action="interaction.delete", outcome="not_found"))
    found = await audits.records(AuditAsked(project=MINE), ALL)
    assert [record.seq for record in found[:1]] == [None]
    assert {record.seq for record in found[1:]} == set(range(1, 11))
    deleted = await audits.records(AuditAsked(action="interaction.delete"), ALL)
    assert [each.outcome for each in deleted] == ["not_found"]
    assert await audits.records(AuditAsked(actor="key_2"), ALL) == []
    assert await audits.records(AuditAsked(since=found[0].at + 1), ALL) == []


async def test_an_export_is_verified_by_the_program_in_the_documentation(sealed, audits, tmp_path):
    (tmp_path / "audit.jsonl").write_bytes(b"".join([line async for line in audits.export()]))
    (program,) = re.findall(r"```python\n(.*?)```", (DOCS / "audit.md").read_text(), re.DOTALL)
    (tmp_path / "verify.py").write_text(program)

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "verify.py", "audit.jsonl"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    good = run()
    assert (good.returncode, good.stderr) == (0, "")
    lines = (tmp_path / "audit.jsonl").read_text().splitlines(keepends=True)
    for changed in (
        [*lines[:3], lines[3].replace('"ok"', '"no"'), *lines[4:]],
        [*lines[:3], *lines[4:]],
        [*lines[:3], lines[4], lines[3], *lines[5:]],
        [*lines[:9], *lines[10:]],
    ):
        assert changed != lines
        (tmp_path / "audit.jsonl").write_text("".join(changed))
        assert run().returncode == 1


async def test_an_export_is_told_of_in_the_log(sealed, audits):
    assert [line async for line in audits.export(MINE)]
    assert [each.action for each in await audits.records(AuditAsked(project=MINE), Span(1))] == [
        "audit.export"
    ]
