"""The admin API as an application of its own, with its own OpenAPI document."""

from fastapi import APIRouter, FastAPI
from starlette.types import ASGIApp

from app.admin.api import audits, gate, money, records, teams, tokens, upstreams
from app.admin.api.door import Door
from app.admin.api.gate import REFUSALS, Gateway, Refusal
from app.auth.addresses import Addresses, Networks
from app.auth.bearers import Bearers
from app.telemetry.telling import framework

PREFIX = "/admin/v1"


def create(gateway: Gateway, bearers: Bearers, addresses: Addresses) -> ASGIApp:
    """The application, behind its door."""
    return Door(routes(gateway), bearers, addresses, Networks(gateway.settings.admin_networks))


def routes(gateway: Gateway) -> FastAPI:
    """The application without its door: for nobody but who lets only bearers in."""
    app = FastAPI(
        title="Interactions Gateway: admin API",
        version="1",
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        telemetry=framework(),
        responses={status: {"model": Refusal, "description": why} for status, why in REFUSALS},
    )
    app.router.redirect_slashes = False
    gate.install_errors(app)
    for router in routers(gateway):
        app.include_router(router)
    return app


def routers(gateway: Gateway) -> list[APIRouter]:
    """The nouns of the API."""
    return [
        teams.projects(gateway),
        teams.keys(gateway),
        money.budgets(gateway),
        money.usage(gateway),
        records.interactions(gateway),
        records.holds(gateway),
        records.retention(gateway),
        audits.router(gateway),
        tokens.router(gateway),
        upstreams.router(gateway),
    ]
