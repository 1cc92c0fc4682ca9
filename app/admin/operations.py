"""What an operator can do, written once. Each operation is a method; skins only show the result."""

from app.settings import Settings
from app.store import migrations, restored
from app.store.database import Database
from app.store.keys import Keys, Project


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

    async def project_id(self, name: str | None) -> str | None:
        """The id of the project of this name or id; None stands for all."""
        return (await self.project(name)).id if name is not None else None

    async def project(self, name: str) -> Project:
        """The project of this name or id."""
        found = await self._keys.project(name)
        if found is None:
            raise Absent(f"There is no project '{name}'.")
        return found
