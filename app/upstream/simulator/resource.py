"""The interaction resource as Gemini writes it, key by key in its order."""

from dataclasses import dataclass
from datetime import UTC, datetime

from app.core import status
from app.core.model import Json, Request


@dataclass(frozen=True, slots=True)
class Resource:
    """What stays the same of an interaction: `id` is empty when it is not stored."""

    id: str
    created: str
    service_tier: str
    target: Json

    def opened(self) -> Json:
        """What `interaction.created` shows."""
        return {"id": self.id, "status": status.IN_PROGRESS, "object": "interaction", **self.target}

    def ended(self, state: str, usage: Json | None = None) -> Json:
        """What `interaction.completed` shows: all but the steps."""
        return self._with(state, {} if usage is None else {"usage": usage}, {})

    def answered(self, state: str, usage: Json | None = None, steps: list[Json] | None = None) -> Json:
        """What a unary answer shows; it has no `id` when the interaction is not stored."""
        spent = {} if usage is None else {"usage": usage}
        shown = self._with(state, spent, {} if steps is None else {"steps": steps})
        if not self.id:
            del shown["id"]
        return shown

    def _with(self, state: str, usage: Json, steps: Json) -> Json:
        return {
            "id": self.id,
            "status": state,
            **usage,
            "created": self.created,
            "updated": self.created,
            "service_tier": self.service_tier,
            **steps,
            "object": "interaction",
            **self.target,
        }


def resource_of(request: Request, interaction_id: str) -> Resource:
    """The resource for this request, made now."""
    tier = request.options.get("service_tier")
    return Resource(
        id=interaction_id,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        service_tier=tier if isinstance(tier, str) else "standard",
        target={"model": request.model} if request.model else {"agent": request.agent},
    )
