"""The pepper: without it the digests in the database are no use to whoever takes the database.

While it is changed there are others beside it: see app.core.versions. Each is a setting, or a file in
the data folder: `pepper`, `pepper.previous`, `pepper.next`.
"""

import base64
import contextlib
import os
import secrets
from pathlib import Path

from pydantic import SecretStr

from app.auth import keys
from app.core.versions import Digest, Versions
from app.settings import Settings, SettingsError

_SHORTEST = 32


def load(settings: Settings) -> Versions[bytes]:
    """The peppers of the settings, else those in the data folder; one is made when there is none yet.

    Raises SettingsError when a file does not hold one.
    """
    found = find(settings)
    if found is None:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        _create(path(settings))
        found = Versions(_read(path(settings)))
    return found


def find(settings: Settings) -> Versions[bytes] | None:
    """As `load`, but None when there is none yet."""
    current = _found(settings.pepper, path(settings))
    if current is None:
        return None
    previous = _found(settings.previous_pepper, previous_path(settings))
    coming = _found(settings.next_pepper, next_path(settings))
    return Versions(
        current,
        previous if previous != current else None,
        coming if coming not in (current, previous) else None,
    )


def fingerprint(pepper: bytes) -> bytes:
    """Tells peppers apart without telling them."""
    return keys.digest(pepper, "fingerprint")


def digest(peppers: Versions[bytes], secret: str) -> Digest:
    """What is stored instead of a key, or of whatever has another name before it."""
    return Digest(keys.digest(peppers.current, secret), fingerprint(peppers.current))


def webhook_secret(pepper: bytes, project_id: str) -> bytes:
    """What a project's webhooks are signed with."""
    # The U+0000 keeps it apart from the digests of keys, which have none in them.
    return keys.digest(pepper, f"webhook\0{project_id}")


def audit_secret(pepper: bytes) -> bytes:
    """What the ends of the audit log's chains are signed with."""
    return keys.digest(pepper, "audit\0")


def shown_webhook_secret(secret: bytes) -> str:
    """The secret in the form that receivers' libraries take."""
    return f"whsec_{base64.b64encode(secret).decode()}"


def prepare(settings: Settings) -> None:
    """Make the pepper that is coming."""
    _create(next_path(settings))


def change(settings: Settings) -> None:
    """The one that is coming is the pepper from now on; broken off in the middle, it can be done again."""
    with contextlib.suppress(FileExistsError):
        os.link(path(settings), previous_path(settings))
    next_path(settings).replace(path(settings))


def drop(settings: Settings) -> None:
    """Forget the previous one."""
    previous_path(settings).unlink()


def path(settings: Settings) -> Path:
    """The file with the pepper, where it is no setting."""
    return settings.data_dir / "pepper"


def previous_path(settings: Settings) -> Path:
    """The file with the one before."""
    return settings.data_dir / "pepper.previous"


def next_path(settings: Settings) -> Path:
    """The file with the one that is coming."""
    return settings.data_dir / "pepper.next"


def _found(setting: SecretStr | None, file: Path) -> bytes | None:
    if setting is not None:
        return setting.get_secret_value().encode()
    return _read(file) if file.exists() else None


def _read(file: Path) -> bytes:
    found = file.read_text().strip()
    if len(found) < _SHORTEST:
        raise SettingsError([f"{file}: too weak: a pepper has at least {_SHORTEST} characters"])
    return found.encode()


def _create(file: Path) -> None:
    """Write one whole or not at all: another process may be starting beside this one."""
    draft = file.with_name(f"{file.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(secrets.token_hex(32) + "\n")
    try:
        os.link(draft, file)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
