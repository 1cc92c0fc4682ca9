"""The pepper: from the settings or a file of its own, made once, readable by nobody else."""

import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.auth import pepper
from app.auth.keys import digest
from app.core.versions import Versions
from app.settings import Settings, SettingsError
from tests.support import PATIENCE
from tests.support.gateway import clean_environment

_LOAD = """
import pathlib, sys, time
from app.auth import pepper
from app.auth.keys import digest
from app.settings import Settings
settings = Settings(data_dir=sys.argv[1])
pathlib.Path(sys.argv[2]).touch()
while not pathlib.Path(sys.argv[3]).exists():
    pass
print(pepper.load(settings).current.decode())
"""


def test_the_settings_win(tmp_path: Path):
    given = "0123456789abcdef" * 2
    settings = Settings(pepper=SecretStr(given), data_dir=tmp_path / "data")
    assert pepper.load(settings) == Versions(given.encode())
    assert not (tmp_path / "data").exists()


def test_a_pepper_is_made_once_and_kept(tmp_path: Path):
    settings = Settings(data_dir=tmp_path / "a" / "b")
    made = pepper.load(settings)
    assert len(bytes.fromhex(made.current.decode())) == 32
    assert pepper.load(settings) == made
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["pepper"]
    assert pepper.load(Settings(data_dir=tmp_path / "c")) != made


def test_nobody_else_can_read_it(tmp_path: Path):
    pepper.load(Settings(data_dir=tmp_path))
    assert stat.S_IMODE((tmp_path / "pepper").stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "\n", "short"])
def test_a_file_that_holds_no_pepper_is_refused(tmp_path: Path, content):
    (tmp_path / "pepper").write_text(content)
    with pytest.raises(SettingsError, match="pepper: too weak"):
        pepper.load(Settings(data_dir=tmp_path))


def test_processes_that_start_together_make_the_same(tmp_path: Path):
    signs = [tmp_path / f"ready-{n}" for n in range(3)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _LOAD, str(tmp_path / "data"), str(sign), str(tmp_path / "gate")],
            env=clean_environment(),
            cwd=Path(pepper.__file__).parents[2],
            stdout=subprocess.PIPE,
            text=True,
        )
        for sign in signs
    ]
    deadline = time.monotonic() + 2 * PATIENCE
    while not all(sign.exists() for sign in signs) and time.monotonic() < deadline:
        time.sleep(0.01)
    (tmp_path / "gate").touch()
    found = {process.communicate(timeout=2 * PATIENCE)[0].strip() for process in processes}
    assert found == {(tmp_path / "data" / "pepper").read_text().strip()}
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["pepper"]


def test_whoever_comes_second_keeps_the_first(tmp_path: Path):
    pepper._create(tmp_path / "pepper")
    made = (tmp_path / "pepper").read_text()
    pepper._create(tmp_path / "pepper")
    assert (tmp_path / "pepper").read_text() == made
    assert [path.name for path in tmp_path.iterdir()] == ["pepper"]


def test_a_fingerprint_tells_peppers_apart_without_telling_them():
    one, other = b"a" * 32, b"b" * 32
    assert pepper.fingerprint(one) == pepper.fingerprint(one) != pepper.fingerprint(other)
    assert one not in pepper.fingerprint(one)


def test_each_project_has_a_webhook_secret_of_its_own() -> None:
    one, two = b"1" * 32, b"2" * 32
    secrets = [pepper.webhook_secret(each, project) for each in (one, two) for project in ("prj_a", "prj_b")]
    assert len({*secrets}) == 4
    assert pepper.webhook_secret(one, "prj_a") == secrets[0]
    # Nobody's key, whatever it is, has a digest that is a secret.
    assert digest(one, "webhook prj_a") not in secrets
    assert pepper.shown_webhook_secret(bytes(3)) == "whsec_AAAA"


def test_a11_others_stand_beside_it_in_settings_or_in_files(tmp_path: Path):
    now, before, coming = ("0123456789abcdef" + end * 16 for end in "xyz")
    given = Settings(
        pepper=SecretStr(now),
        previous_pepper=SecretStr(before),
        next_pepper=SecretStr(coming),
        data_dir=tmp_path,
    )
    found = pepper.load(given)
    assert found == Versions(now.encode(), before.encode(), coming.encode())
    for name, text in (("pepper", now), ("pepper.previous", before), ("pepper.next", coming)):
        (tmp_path / name).write_text(text + "\n")
    assert pepper.load(Settings(data_dir=tmp_path)) == found
    assert pepper.load(Settings(data_dir=tmp_path, previous_pepper=SecretStr(now))).all() == (
        now.encode(),
        coming.encode(),
    )
    (tmp_path / "pepper.previous").write_text("short")
    with pytest.raises(SettingsError, match=r"pepper\.previous: too weak"):
        pepper.load(Settings(data_dir=tmp_path))


def test_a11_a_change_that_is_broken_off_can_be_done_again(tmp_path: Path):
    settings = Settings(data_dir=tmp_path)
    before = pepper.load(settings).current
    pepper.prepare(settings)
    prepared = pepper.load(settings)
    assert prepared.current == before
    assert prepared.coming not in (None, before)
    pepper.previous_path(settings).hardlink_to(pepper.path(settings))  # and here it broke off
    assert pepper.load(settings) == prepared
    pepper.change(settings)
    assert pepper.load(settings) == Versions(prepared.coming, before)
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    pepper.drop(settings)
    assert pepper.load(settings) == Versions(prepared.coming)
    assert [path.name for path in tmp_path.iterdir()] == ["pepper"]
