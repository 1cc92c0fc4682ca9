"""Peppers: whether the one there is fits the database, how it is changed, and what still hangs on another.

Changed in three steps, so that at every moment each process accepts what another one makes:
the next one is known everywhere, then it is used, then the previous one goes.
"""

from app.admin.doctor import Finding
from app.admin.operations import OperationError
from app.auth import pepper
from app.core.audit import GATEWAY, Actor, Entry
from app.core.versions import Versions
from app.errors import ApiError
from app.settings import Settings
from app.store.audit import Audit
from app.store.database import Database
from app.store.fingerprints import Fingerprints
from app.store.peppers import Peppers as Store
from app.upstream import credentials

_OTHER = (
    "The keys in this database were made with another pepper: set GATEWAY_PEPPER to it, "
    "or GATEWAY_DATA_DIR to the folder that holds it. If it is lost: `gateway pepper accept`."
)
_VOID = "made with another pepper, and void: set GATEWAY_PREVIOUS_PEPPER to it, or revoke or delete them"
_PREPARED = "There is a next pepper. Restart every gateway, then run this again."
_CHANGED = (
    "The next pepper is the pepper now. Restart every gateway. Keys move to it when they are used: "
    "when `gateway doctor` says that nothing hangs on the previous one, run this again."
)
_DROPPED = "The previous pepper is gone. Restart every gateway when it suits."


class Peppers:
    """What an operator can do with the pepper."""

    def __init__(self, settings: Settings, database: Database, actor: Actor) -> None:
        self._settings = settings
        self._store = Store(database)
        self._audit = Audit(database)
        self._database = database
        self._actor = actor

    async def check(self) -> None:
        """Refuse to go on with a pepper that what is in this database was not made with.

        One that comes with the one before it is a change of the pepper, and is taken note of.
        """
        known = await self._store.known()
        found = pepper.find(self._settings) if known else pepper.load(self._settings)
        if found is None or (known and not _fits(found, known)):
            raise OperationError(_OTHER)
        current = pepper.fingerprint(found.current)
        if current not in known:
            await self._store.add(current, self._entry("pepper.change") if known else None)

    async def rotate(self) -> str:
        """Take the next step of a change of the pepper in the data folder; what is to be done then."""
        settings = self._settings
        if settings.pepper or settings.previous_pepper or settings.next_pepper:
            raise OperationError("The pepper is a setting, and is changed there: see docs/operations.md.")
        await self.check()
        found = pepper.load(settings)
        if found.coming is not None:
            if found.previous is not None:
                raise OperationError("There is a previous pepper still, and a next one already.")
            await self._store.add(pepper.fingerprint(found.coming), self._entry("pepper.change"))
            pepper.change(settings)
            return _CHANGED
        if found.previous is not None:
            if hanging := await self._hanging(found):
                raise OperationError(f"On the previous pepper still hang {hanging}.")
            await self._audit.write(self._entry("pepper.drop"))
            pepper.drop(settings)
            return _DROPPED
        await self._audit.write(self._entry("pepper.prepare"))
        pepper.prepare(settings)
        return _PREPARED

    async def accept(self) -> str:
        """Go on with the pepper there is, although what is here was made with another; what is void then."""
        known, found = await self._store.known(), pepper.load(self._settings)
        if not known or _fits(found, known):
            raise OperationError("The pepper fits: there is nothing to accept.")
        void = await self._hanging(found)
        entry = self._entry("pepper.accept")._replace(details={"void": void})
        await self._store.add(pepper.fingerprint(found.current), entry)
        return void

    async def finding(self) -> Finding:
        """Whether the pepper fits, and what hangs on another."""
        try:
            return await self._finding()
        except ApiError:
            return Finding("pepper", ok=False, text="cannot be checked before the database is migrated")

    async def _finding(self) -> Finding:
        known, found = await self._store.known(), pepper.find(self._settings)
        if not known:
            return Finding("pepper", ok=True, text="not needed before the first key")
        if found is None or not _fits(found, known):
            return Finding("pepper", ok=False, text=_OTHER)
        hanging = await self._hanging(found)
        if found.previous is not None:
            still = f"on the previous one still hang {hanging}" if hanging else "the previous one can go"
            return Finding("pepper", ok=True, text=f"fits the keys in the database; {still}")
        if hanging:
            return Finding("pepper", ok=False, text=f"{hanging} {_VOID}")
        return Finding("pepper", ok=True, text="fits the keys in the database")

    async def _hanging(self, found: Versions[bytes]) -> str:
        """What hangs on another pepper than the one there is, or on the one that is coming; "" if nothing."""
        counting = [found.current, *([found.coming] if found.coming is not None else [])]
        keys, tokens, callers = await self._store.hanging([pepper.fingerprint(each) for each in counting])
        counts = {"keys": keys, "tokens": tokens, "callers with keys of their own": callers}
        if found.previous is not None:
            old = pepper.audit_secret(found.previous)
            counts["logs"] = sum(head.genuine(old) for head in (await self._audit.heads()).values())
            counts["names of upstream keys"] = await self._fingerprints(found)
        return ", ".join(f"{count} {what}" for what, count in counts.items() if count)

    async def _fingerprints(self, found: Versions[bytes]) -> int:
        versions = [
            credentials.fingerprints(found, key.key.get_secret_value())
            for upstream in self._settings.upstreams
            for key in upstream.api_keys
        ]
        return await Fingerprints(self._database, versions).hanging()

    def _entry(self, action: str) -> Entry:
        return Entry(GATEWAY, self._actor, action, None)


def _fits(found: Versions[bytes], known: list[bytes]) -> bool:
    """Whether this pepper has been used here, or the one before it."""
    return any(pepper.fingerprint(each) in known for each in found[:2] if each is not None)
