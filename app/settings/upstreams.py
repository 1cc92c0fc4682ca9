"""Upstreams: who answers, with which keys, and for which models."""

import os
from typing import Any, Literal, Self

from pydantic import Field, HttpUrl, SecretStr, field_validator, model_validator

from app.settings.sections import Section
from app.settings.values import is_this_machine


class UpstreamKey(Section):
    """One key of an upstream. One with `projects` is for these alone, and they use no other."""

    key: SecretStr
    weight: int = Field(default=1, ge=1, le=100)
    projects: list[str] = Field(default_factory=list)

    @field_validator("projects")
    @classmethod
    def _ids(cls, projects: list[str]) -> list[str]:
        for each in projects:
            if not each.startswith("prj_"):
                raise ValueError(f"'{each}' is not the id of a project; `gateway projects list` shows them")
        return projects


class Upstream(Section):
    """One provider endpoint. `models` are globs over model and agent names; the first fit wins.

    `delete_after` has the provider's own copy of an agent's interaction deleted after its end;
    `plain_http` sends keys over plain HTTP to a host that is not this machine.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    kind: Literal["interactions", "simulator"]
    base_url: HttpUrl | None = None
    api_keys: list[UpstreamKey] = Field(default_factory=list)
    models: list[str] = Field(default_factory=lambda: ["*"])
    delete_after: bool = False
    plain_http: bool = False

    @field_validator("api_keys", mode="before")
    @classmethod
    def _resolve(cls, keys: Any) -> Any:
        if not isinstance(keys, list):
            return keys
        return [_key(key) for key in keys]

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if self.kind == "interactions" and self.base_url is None:
            raise ValueError("an upstream of kind 'interactions' needs a 'base_url'")
        return self

    @property
    def in_the_clear(self) -> bool:
        """Whether others could read what is sent to it, and nobody has said that they may."""
        url = self.base_url
        if self.kind == "simulator" or url is None or self.plain_http:
            return False
        return url.scheme == "http" and not is_this_machine(url.host or "")


def _from_environment(value: str) -> str:
    """`env:NAME` reads that variable, so that a settings file need not hold a secret."""
    if not value.startswith("env:"):
        return value
    found = os.environ.get(value.removeprefix("env:"), "")
    if not found:
        raise ValueError(f"the environment has no {value.removeprefix('env:')}")
    return found


def _key(given: Any) -> Any:
    """A key of an upstream, which may be written as a string or as a table."""
    fields = {"key": given} if isinstance(given, str | SecretStr) else given
    key = fields.get("key") if isinstance(fields, dict) else None
    return {**fields, "key": _from_environment(key)} if isinstance(key, str) else fields
