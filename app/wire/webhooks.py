"""Webhooks: the `webhook_config` of a request, and what a receiver is sent (Standard Webhooks)."""

import base64
import hmac
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from app.core import status
from app.core.budget import Budget
from app.core.model import Interaction, Json, Request
from app.egress import Guard
from app.errors import InvalidRequest
from app.wire.steps import instant

FIELD = "webhook_config"
_URIS = 5
_METADATA_BYTES = 16 * 2**10

# Any other end is told as `interaction.completed`, which is also the last event of its stream: the
# receiver reads the status itself.
_TYPES = {
    status.FAILED: "interaction.failed",
    status.REQUIRES_ACTION: "interaction.requires_action",
    status.CANCELLED: "interaction.cancelled",
}
_COMPLETED = "interaction.completed"


def check(request: Request, guard: Guard) -> None:
    """Raise InvalidRequest, naming the field, unless the request's webhooks can be called when it ends."""
    config = request.options.get(FIELD)
    if config is None:
        return
    if not guard.enabled:
        raise InvalidRequest(f"'{FIELD}': webhooks are turned off here, 'egress.enabled'.")
    if not request.store:
        raise InvalidRequest(f"'{FIELD}' needs 'store': a receiver is sent an id to read.")
    if not isinstance(config, dict):
        raise InvalidRequest(f"'{FIELD}' must be an object.")
    if unknown := config.keys() - {"uris", "user_metadata"}:
        raise InvalidRequest(f"'{FIELD}.{min(unknown)[:80]}' is not supported.")
    _check_metadata(config.get("user_metadata"))
    for number, uri in enumerate(_uris(config.get("uris"))):
        guard.check(uri, f"{FIELD}.uris[{number}]")


def _uris(given: Any) -> list[str]:
    if not isinstance(given, list) or not 1 <= len(given) <= _URIS:
        raise InvalidRequest(f"'{FIELD}.uris' must be a list of 1 to {_URIS} URLs.")
    for number, uri in enumerate(given):
        if not isinstance(uri, str):
            raise InvalidRequest(f"'{FIELD}.uris[{number}]' must be a string.")
    return given


def _check_metadata(given: Any) -> None:
    if given is None:
        return
    if not isinstance(given, dict):
        raise InvalidRequest(f"'{FIELD}.user_metadata' must be an object.")
    if len(orjson.dumps(given)) > _METADATA_BYTES:
        raise InvalidRequest(f"'{FIELD}.user_metadata' is larger than {_METADATA_BYTES} bytes.")


def notice(interaction: Interaction, config: Json) -> bytes:
    """What a receiver is told of an interaction's end: its id and little more, no content."""
    told: Json = {"id": interaction.id}
    if interaction.status == status.FAILED and interaction.error is not None:
        error = orjson.loads(interaction.error)
        told |= {"error_code": error.get("code"), "error_message": error.get("message")}
    if config.get("user_metadata") is not None:
        told["user_metadata"] = config["user_metadata"]
    return orjson.dumps(
        {
            "type": _TYPES.get(interaction.status, _COMPLETED),
            "version": "v1",
            "timestamp": instant(interaction.updated_at),
            "data": told,
        }
    )


def budget_notice(budget: Budget, began: int, threshold: int, spent: int, at: int) -> bytes:
    """What a receiver is told when so many percent of a budget are spent; money is in millionths."""
    told: Json = {
        "id": budget.id,
        "project_id": budget.project_id,
        "key_id": budget.key_id,
        "period": budget.period,
        "period_began": instant(began),
        "unit": budget.unit,
        "amount": budget.amount,
        "spent": spent,
        "threshold": threshold,
        "hard": budget.hard,
    }
    return orjson.dumps(
        {"type": "budget.threshold_reached", "version": "v1", "timestamp": instant(at), "data": told}
    )


def headers(secrets: Iterable[bytes], delivery_id: str, timestamp: int, body: bytes) -> Mapping[str, str]:
    """The headers of one attempt at a delivery; `timestamp` is in seconds.

    With several secrets there are several signatures: the receiver accepts the one that it knows.
    """
    text = f"{delivery_id}.{timestamp}.".encode() + body
    signed = [base64.b64encode(hmac.digest(secret, text, "sha256")).decode() for secret in secrets]
    return {
        "content-type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{each}" for each in signed),
    }
