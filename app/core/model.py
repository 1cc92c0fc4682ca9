"""The nouns of the gateway: what was asked, what an adapter is given, what is kept."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from app.core.continuity import Continuity

Json = dict[str, Any]

ECHOED = (
    "agent_config",
    "environment",
    "labels",
    "response_format",
    "response_mime_type",
    "response_modalities",
    "service_tier",
    "system_instruction",
    "tools",
)
"""Request fields that the interaction shows again; the resource's schema has all of them."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asked for, in the steps schema.

    `input` holds steps. `options` holds every other top-level field exactly as it came, known or
    not (tools, generation_config, labels, ...); an Interactions upstream gets all of them.
    """

    input: list[Json]
    model: str | None = None
    agent: str | None = None
    previous_interaction_id: str | None = None
    store: bool = True
    stream: bool = False
    background: bool = False
    options: Json = field(default_factory=dict)

    @property
    def target(self) -> str:
        """The model's or the agent's name: what an upstream is chosen by."""
        return self.model or self.agent or ""


@dataclass(frozen=True, slots=True)
class Kept:
    """A run that an upstream keeps: it can be followed, cancelled and deleted there by its id."""

    id: str
    affinity: str | None = None
    """Which of the upstream's keys it was made with: its fingerprint."""
    credential: str | None = None
    """The caller's own upstream key, where callers bring their own."""
    last_event_id: str | None = None
    """The last event that came with an id, as the upstream calls it: where its stream goes on."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What an adapter is given: one stateless call that carries the whole conversation.

    `steps` is JSON text, an array: the ancestors' inputs and outputs, oldest first, then this
    request's input. It is spliced from stored bytes; nobody decodes what nobody looks at.
    """

    request: Request
    steps: bytes
    credential: str | None = None
    """The caller's own upstream key, where callers bring their own."""
    affinity: str | None = None
    """Which of the upstream's keys the call has to be made with: its fingerprint."""
    kept: Kept | None = None
    """The run that is taken up again, where the upstream has one already."""
    told: "Continuity | None" = None
    """What had been told of it when it is taken up again."""


@dataclass(frozen=True, slots=True)
class Interaction:
    """The API resource, as stored. Byte fields are JSON text; times are epoch milliseconds.

    `input` and `output` are arrays of steps, `options` the request's options, `details` what the
    upstream said of the whole (usage, service_tier, fields this version does not know).
    """

    id: str
    project_id: str
    status: str
    created_at: int
    updated_at: int
    model: str | None
    agent: str | None
    parent_id: str | None
    root_id: str
    depth: int
    background: bool
    options: bytes
    input: bytes
    output: bytes
    details: bytes
    error: bytes | None
    last_seq: int
    history_bytes: int
