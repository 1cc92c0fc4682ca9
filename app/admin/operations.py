"""What an operator can do, written once. Each operation is a method; skins only show the result."""

from app.admin import doctor
from app.admin.chains import Chains
from app.admin.doctor import Finding
from app.auth import pepper
from app.errors import ApiError
from app.runs.sweeper import SWEEP
from app.settings import Settings
from app.store import migrations, restored
from app.store.audit import Audit
from app.store.database import Database
from app.store.keys import Keys, Project
from app.store.leases import Leases
from app.store.retention import Retention

_NEWEST = 10_000
_OTHER_PEPPER = (
    "The keys in this database were made with another pepper: set GATEWAY_PEPPER to it, "
    "or GATEWAY_DATA_DIR to the folder that holds it."
)


class OperationError(Exception):
    """The operation cannot be done; the message says why, in one line."""


class Absent(OperationError):
    """There is nothing of that name."""


def explain(error: Exception) -> str:
    """The error in one line, with what the database said of it, if it did."""
    said = getattr(error.__cause__, "orig", None)
    return f"{error} ({str(said).splitlines()[0]})" if said else str(error)


class Operations:
    """Everything an operator can do with one gateway."""

    def __init__(self, settings: Settings, database: Database) -> None:
        self._settings = settings
        self._database = database
        self._keys = Keys(database)

    def end_restored(self) -> int:
        """End what was under way when a backup was made that has been restored; how many that were."""
        with self._database.transaction() as connection:
            return restored.end_all(connection)

    def migrate(self) -> str:
        """Bring the database to this version's schema; its revision."""
        try:
            return migrations.migrate(self._database)
        except migrations.UnknownRevision as error:
            raise OperationError(f"{error} Use the version that has migrated it, or a newer one.") from None

    async def check_pepper(self) -> None:
        """Refuse to go on with a pepper that the keys in this database were not made with."""
        known = await self._keys.peppers()
        if not known:
            await self._keys.add_pepper(pepper.fingerprint(pepper.load(self._settings)))
        elif not self._fits(known):
            raise OperationError(_OTHER_PEPPER)

    def _fits(self, fingerprints: list[bytes]) -> bool:
        mine = pepper.find(self._settings)
        return mine is not None and pepper.fingerprint(mine) in fingerprints

    async def doctor(self) -> list[Finding]:
        """What is in order and what is not. Shows no secrets."""
        findings = [await self._check_database()]
        if findings[0].ok:
            findings += [await self._check_schema(), await self._check_keys()]
        if all(finding.ok for finding in findings[:2]):
            findings += [*await self._check_retention(), *await self._check_audit()]
        findings += [
            Finding(
                f"upstream {upstream.name}",
                bool(upstream.api_keys) or self._needs_no_key(upstream.kind),
                f"{upstream.kind}, {len(upstream.api_keys)} keys, for {', '.join(upstream.models)}",
            )
            for upstream in self._settings.upstreams
        ]
        if all(finding.ok for finding in findings[:2]):
            there = {project.id for project in await self._keys.projects()}
            findings += doctor.bound_keys(self._settings.upstreams, there)
        return [*findings, *doctor.files(self._settings)]

    def _needs_no_key(self, kind: str) -> bool:
        return kind == "simulator" or self._settings.auth == "passthrough"

    async def _check_database(self) -> Finding:
        try:
            await self._database.ping()
        except ApiError as error:
            return Finding("database", ok=False, text=explain(error))
        return Finding("database", ok=True, text="answers")

    async def _check_schema(self) -> Finding:
        found, needed = await self._database.read(migrations.current), migrations.newest()
        text = f"at revision {found}" if found == needed else f"at {found}, needs {needed}: gateway migrate"
        return Finding("schema", ok=found == needed, text=text)

    async def _check_keys(self) -> Finding:
        try:
            known = await self._keys.peppers()
        except ApiError:
            return Finding("pepper", ok=False, text="cannot be checked before the database is migrated")
        if not known:
            return Finding("pepper", ok=True, text="not needed before the first key")
        if not self._fits(known):
            return Finding("pepper", ok=False, text=_OTHER_PEPPER)
        return Finding("pepper", ok=True, text="fits the keys in the database")

    async def _check_retention(self) -> list[Finding]:
        settings = self._settings
        retention = Retention(
            self._database, settings.retention.clock, int(settings.runs.resume_window * 1000)
        )
        leases = {lease.name: lease for lease in await Leases(self._database).all()}
        return doctor.retention(
            leases.get(SWEEP), await retention.backlog(), settings.retention.sweep_seconds
        )

    async def _check_audit(self) -> list[Finding]:
        secret = pepper.find(self._settings)
        if secret is None:  # there is no key and no log yet, or the pepper is complained of already
            return []
        found = await Chains(Audit(self._database), pepper.audit_secret(secret)).all(_NEWEST)
        return [doctor.audit([(each.project_id, each.ok, each.text) for each in found])]

    async def project(self, name: str) -> Project:
        """The project of this name or id."""
        found = await self._keys.project(name)
        if found is None:
            raise Absent(f"There is no project '{name}'.")
        return found
