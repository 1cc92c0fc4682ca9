"""Health: alive, and ready to serve."""

from fastapi import APIRouter, Response

from app.errors import ApiError
from app.store.database import Database


def router(database: Database) -> APIRouter:
    """/healthz says that the process runs, /readyz that the database answers, too."""
    routes = APIRouter()

    @routes.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @routes.get("/readyz")
    async def readyz(response: Response) -> dict[str, str]:
        try:
            await database.ping()
        except ApiError:
            response.status_code = 503
            response.headers["retry-after"] = "2"
            return {"status": "the database does not answer"}
        return {"status": "ok"}

    return routes
