"""The checkup: what `gateway doctor` looks at."""

from app.admin import doctor
from app.admin.chains import Chains
from app.admin.doctor import Finding
from app.admin.operations import explain
from app.admin.peppers import Peppers
from app.auth import pepper
from app.core.audit import Actor
from app.errors import ApiError
from app.runs.sweeper import SWEEP
from app.settings import Settings
from app.store import migrations
from app.store.audit import Audit
from app.store.database import Database
from app.store.directory import Directory
from app.store.leases import Leases
from app.store.retention import Retention

_NEWEST = 10_000
"""How many records at the end of each audit log are verified."""


class Checkup:
    """Looks at everything that could be wrong, and changes nothing."""

    def __init__(self, settings: Settings, database: Database, actor: Actor) -> None:
        self._settings = settings
        self._database = database
        self._peppers = Peppers(settings, database, actor)

    async def findings(self) -> list[Finding]:
        """What is in order and what is not. Shows no secrets."""
        findings = [await self._check_database()]
        if findings[0].ok:
            findings += [await self._check_schema(), await self._peppers.finding()]
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
            named = {
                project
                for upstream in self._settings.upstreams
                for key in upstream.api_keys
                for project in key.projects
            }
            there = await Directory(self._database).names(named)
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
        found = pepper.find(self._settings)
        if found is None:  # there is no key and no log yet, or the pepper is complained of already
            return []
        chains = await Chains(Audit(self._database), found.map(pepper.audit_secret)).all(_NEWEST)
        return [doctor.audit([(each.project_id, each.ok, each.text) for each in chains])]
