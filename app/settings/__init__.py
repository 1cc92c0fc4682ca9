"""Settings: `gateway.toml` and `GATEWAY_*` environment variables (nested by `__`), both optional.

The environment wins over the file. Unknown settings stop the start, one line each: a typo must
not silently leave a default in place.

    sections     settings that belong together, with their defaults
    upstreams    who answers, and with which keys
    values       what a single value has to be like
"""

import os
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, HttpUrl, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from app.settings.sections import Egress, Limits, Retention, Runs, Telemetry, Timeouts
from app.settings.upstreams import Upstream, UpstreamKey
from app.settings.values import NetworkText, PriceTable, RedisUrl, Secret, is_this_machine

__all__ = (
    "Egress",
    "Limits",
    "Retention",
    "Runs",
    "Settings",
    "SettingsError",
    "Telemetry",
    "Timeouts",
    "Upstream",
    "check_host",
    "config_file",
    "load",
)

_PREFIX = "GATEWAY_"
_CONFIG = "GATEWAY_CONFIG"
_DATABASE = re.compile(r"sqlite:///(?!:memory:|\?).+|postgres(ql)?://.+")
_GEMINI = "https://generativelanguage.googleapis.com"


class SettingsError(Exception):
    """The settings do not fit; `lines` has one complaint each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class Settings(BaseSettings):
    """Every setting of the gateway, with its default."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    database_url: str = "sqlite:///data/gateway.db"
    sqlite_synchronous: Literal["normal", "full"] = "normal"
    data_dir: Path = Path("data")
    public_url: HttpUrl | None = None
    pepper: Secret | None = None
    previous_pepper: Secret | None = None
    next_pepper: Secret | None = None
    admin_token: Secret | None = None
    admin_networks: list[NetworkText] = Field(default_factory=lambda: ["127.0.0.0/8", "::1/128"])
    auth: Literal["keys", "passthrough"] = "keys"
    default_revision: Literal["steps", "outputs"] = "steps"
    key_cache_seconds: float = Field(default=5, ge=0, le=60)
    trusted_proxies: list[NetworkText] = Field(default_factory=list)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    upstreams: list[Upstream] = Field(default_factory=list)
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    runs: Runs = Runs()
    retention: Retention = Retention()
    egress: Egress = Egress()
    prices: PriceTable | None = None
    redis_url: RedisUrl | None = None
    telemetry: Telemetry = Telemetry()

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str) -> str:
        if not _DATABASE.fullmatch(url):
            raise ValueError("use sqlite:///path or postgresql://user@host/name")
        return url.replace("postgres://", "postgresql://", 1)

    @field_validator("upstreams")
    @classmethod
    def _unique_names(cls, upstreams: list[Upstream]) -> list[Upstream]:
        names = [upstream.name for upstream in upstreams]
        if len(names) != len(set(names)):
            raise ValueError("two upstreams have the same name")
        return upstreams

    @field_validator("upstreams")
    @classmethod
    def _keys_are_covered(cls, upstreams: list[Upstream], others: ValidationInfo) -> list[Upstream]:
        for each in upstreams:
            has_keys = each.api_keys or others.data.get("auth") == "passthrough"
            if has_keys and each.in_the_clear:
                text = f"the keys for '{each.name}' would cross the network in the clear: use https"
                raise ValueError(f"{text}, or set its 'plain_http'")
        return upstreams

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the base class names it
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What was passed in, then the environment, then the file."""
        file = TomlConfigSettingsSource(settings_cls, config_file())
        return init_settings, env_settings, file


def config_file() -> Path:
    """The settings file of this process, whether or not there is one."""
    return Path(os.environ.get(_CONFIG) or "gateway.toml")


def load(config: Path | None = None) -> Settings:
    """The settings of this process; `config` names the file for it and for the processes it starts.

    Raises SettingsError.
    """
    if config is not None:
        os.environ[_CONFIG] = str(config)
    lines = _unknown_variables() + _missing_file()
    if lines:
        raise SettingsError(lines)
    try:
        settings = Settings()
    except ValidationError as error:
        raise SettingsError([_line(problem) for problem in error.errors()]) from None
    except ValueError as error:
        raise SettingsError([str(error)]) from None
    return settings.model_copy(update={"upstreams": _upstreams(settings)})


def check_host(settings: Settings, host: str) -> None:
    """Have the admin API where others can reach it only if that was meant. Raises SettingsError."""
    meant = settings.admin_token is None or "admin_networks" in settings.model_fields_set
    if not (meant or is_this_machine(host)):
        text = f"the gateway is to listen on {host or 'every address'}: say in 'admin_networks' where the"
        raise SettingsError([f'admin_token: {text} admin API may be used from, as ["10.0.0.0/8"]'])


def _upstreams(settings: Settings) -> list[Upstream]:
    """The configured upstreams; without any, Gemini if there is a key for it, else the simulator."""
    if settings.upstreams:
        return settings.upstreams
    key = os.environ.get("GEMINI_API_KEY", "")
    if key.startswith("igw_"):  # our own, exported for an SDK in the shell that starts us again
        key = ""
    if key or settings.auth == "passthrough":
        keys = [UpstreamKey(key=SecretStr(key))] if key else []
        return [Upstream(name="gemini", kind="interactions", base_url=HttpUrl(_GEMINI), api_keys=keys)]
    return [Upstream(name="simulator", kind="simulator")]


def _missing_file() -> list[str]:
    path = os.environ.get(_CONFIG)
    return [f"{_CONFIG}: there is no file {path}"] if path and not Path(path).is_file() else []


def _unknown_variables() -> list[str]:
    known = {name.upper() for name in Settings.model_fields} | {"CONFIG"}
    return [
        f"{name}: there is no such setting"
        for name in sorted(os.environ)
        if name.startswith(_PREFIX) and name.removeprefix(_PREFIX).split("__")[0] not in known
    ]


def _line(problem: Any) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    text = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        text = "there is no such setting"
    return f"{where}: {text}"
