"""Who is there: the names of projects, and whose a key is."""

from collections.abc import Collection

from sqlalchemy import select

from app.store.database import Database
from app.store.schema import api_keys, projects


class Directory:
    """Looks up what others name by its id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def names(self, project_ids: Collection[str]) -> dict[str, str]:
        """The names of these projects, as far as they are there."""
        query = select(projects.c.id, projects.c.name).where(
            projects.c.id.in_(sorted(set(project_ids))), projects.c.deleted_at.is_(None)
        )
        rows = await self._database.read(lambda connection: connection.execute(query).all())
        return {row.id: row.name for row in rows}

    async def has_key(self, project_id: str, key_id: str) -> bool:
        """Whether a project has this key, valid or not."""
        query = select(api_keys.c.id).where(api_keys.c.project_id == project_id, api_keys.c.id == key_id)
        return await self._database.read(lambda connection: connection.execute(query).first() is not None)
