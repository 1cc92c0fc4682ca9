"""The pepper: without it the digests in the database are no use to whoever takes the database."""

import base64
import os
import secrets
from pathlib import Path

from app.auth import keys
from app.settings import Settings, SettingsError

_SHORTEST = 32


def load(settings: Settings) -> bytes:
    """The pepper of the settings, else the one in the data folder, made when there is none yet.

    Raises SettingsError when that file does not hold one.
    """
    found = find(settings)
    if found is None:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        _create(_path(settings))
        found = _read(_path(settings))
    return found


def find(settings: Settings) -> bytes | None:
    """As `load`, but None when there is none yet."""
    if settings.pepper is not None:
        return settings.pepper.get_secret_value().encode()
    path = _path(settings)
    return _read(path) if path.exists() else None


def fingerprint(pepper: bytes) -> bytes:
    """Tells peppers apart without telling them."""
    return keys.digest(pepper, "fingerprint")


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


def _path(settings: Settings) -> Path:
    return settings.data_dir / "pepper"


def _read(path: Path) -> bytes:
    found = path.read_text().strip()
    if len(found) < _SHORTEST:
        raise SettingsError([f"{path}: too weak: a pepper has at least {_SHORTEST} characters"])
    return found.encode()


def _create(path: Path) -> None:
    """Write it whole or not at all: another process may be starting beside this one."""
    draft = path.with_name(f"pepper.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32) + "\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
