"""The sections of the settings, each with its defaults."""

import re
from ipaddress import ip_network
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, field_validator, model_validator

_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")


class Section(BaseModel):
    """Settings that belong together: these, and no others."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Limits(Section):
    """What one request may cost, before anybody knows who asks."""

    body_bytes: int = Field(default=100 * 2**20, ge=1024)
    upload_bytes: int = Field(default=2 * 2**30, ge=1024)
    header_bytes: int = Field(default=32 * 2**10, ge=1024)
    header_count: int = Field(default=100, ge=10)
    header_seconds: float = Field(default=10, gt=0)
    json_depth: int = Field(default=100, ge=10, le=500)
    body_seconds: float = Field(default=60, gt=0)
    request_seconds: float = Field(default=3600, gt=0)
    chain_turns: int = Field(default=1000, ge=1)
    chain_bytes: int = Field(default=100 * 2**20, ge=1024)


class Timeouts(Section):
    """How long a run waits for its upstream, in seconds."""

    connect: float = Field(default=10, gt=0)
    idle: float = Field(default=300, gt=0)
    run: float = Field(default=3600, gt=0)
    background: float = Field(default=14_400, gt=0)


class Runs(Section):
    """How runs are held and followed, in seconds and bytes."""

    lease: float = Field(default=30, gt=0)
    heartbeat: float = Field(default=10, gt=0)
    poll: float = Field(default=1, gt=0)
    keep_alive: float = Field(default=15, gt=0)
    open_wait: float = Field(default=5, ge=0)
    drain: float = Field(default=10, ge=0)
    tail_bytes: int = Field(default=4 * 2**20, ge=1024)
    event_bytes: int = Field(default=64 * 2**20, ge=1024)
    answer_bytes: int = Field(default=256 * 2**20, ge=1024)
    concurrent: int = Field(default=500, ge=1)
    concurrent_per_project: int = Field(default=200, ge=1)
    background: int = Field(default=200, ge=0)
    background_per_project: int = Field(default=50, ge=1)
    queue: int = Field(default=1000, ge=0)
    queue_wait: float = Field(default=10, ge=0)
    resume_window: float = Field(default=3600, ge=0)

    @model_validator(mode="after")
    def _beats_in_time(self) -> Self:
        if self.heartbeat >= self.lease:
            raise ValueError("'lease' must be longer than 'heartbeat', or every run is taken for abandoned")
        return self


class Retention(Section):
    """How long interactions are kept, in days.

    By the clock of the `conversation`, what has expired is hidden, and erased when everything that
    continues it has expired too; by that of the `interaction`, each is erased on its own day.
    """

    days: int = Field(default=55, ge=0, le=36_500)
    records_days: int = Field(default=55, ge=0, le=36_500)
    clock: Literal["conversation", "interaction"] = "conversation"
    sweep_seconds: float = Field(default=60, gt=0)


class Egress(Section):
    """Whether the gateway may call hosts that a request names (webhooks), and which ones.

    Public addresses only; `allow` adds networks and host names of one's own.
    """

    enabled: bool = False
    allow: list[str] = Field(default_factory=list)
    seconds: float = Field(default=10, gt=0)
    retry_hours: float = Field(default=24, ge=0)

    @field_validator("allow")
    @classmethod
    def _networks_or_names(cls, entries: list[str]) -> list[str]:
        for entry in entries:
            try:
                ip_network(entry)
            except ValueError:
                if not _HOST.fullmatch(entry) or entry.rpartition(".")[2].isdigit():
                    text = f"'{entry}' is neither a network, as 10.0.0.0/8, nor the name of a host"
                    raise ValueError(text) from None
        return entries


class Telemetry(Section):
    """What is told about the gateway's work, and to whom; never content.

    `metrics` are for holders of an admin token, or open to everybody. Traces are sent where
    `otlp_endpoint` says, and passed on to upstreams with `forward_traceparent`.
    """

    metrics: Literal["token", "open", "off"] = "token"
    otlp_endpoint: HttpUrl | None = None
    otlp_headers: dict[str, SecretStr] = Field(default_factory=dict)
    service_name: str = "interactions-gateway"
    forward_traceparent: bool = False
