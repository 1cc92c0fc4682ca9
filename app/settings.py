"""Settings: `gateway.toml` and `GATEWAY_*` environment variables (nested by `__`), both optional.

The environment wins over the file. Unknown settings stop the start, one line each: a typo must
not silently leave a default in place.
"""

import os
import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    HttpUrl,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from app.core import prices

_PREFIX = "GATEWAY_"
_CONFIG = "GATEWAY_CONFIG"
_DATABASE = re.compile(r"sqlite:///(?!:memory:|\?).+|postgres(ql)?://.+")
_REDIS = re.compile(r"rediss?://\S+")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
_GEMINI = "https://generativelanguage.googleapis.com"


class SettingsError(Exception):
    """The settings do not fit; `lines` has one complaint each."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


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


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class UpstreamKey(_Section):
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


class Upstream(_Section):
    """One provider endpoint. `models` are globs over model and agent names; the first fit wins.

    `delete_after` has the provider's own copy of an agent's interaction deleted after its end.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    kind: Literal["interactions", "simulator"]
    base_url: HttpUrl | None = None
    api_keys: list[UpstreamKey] = Field(default_factory=list)
    models: list[str] = Field(default_factory=lambda: ["*"])
    delete_after: bool = False

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


class Limits(_Section):
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


class Timeouts(_Section):
    """How long a run waits for its upstream, in seconds."""

    connect: float = Field(default=10, gt=0)
    idle: float = Field(default=300, gt=0)
    run: float = Field(default=3600, gt=0)
    background: float = Field(default=14_400, gt=0)


class Runs(_Section):
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


class Retention(_Section):
    """How long interactions are kept, in days.

    By the clock of the `conversation`, what has expired is hidden, and erased when everything that
    continues it has expired too; by that of the `interaction`, each is erased on its own day.
    """

    days: int = Field(default=55, ge=0, le=36_500)
    records_days: int = Field(default=55, ge=0, le=36_500)
    clock: Literal["conversation", "interaction"] = "conversation"
    sweep_seconds: float = Field(default=60, gt=0)


class Egress(_Section):
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


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError(f"'{text}' is no network, as 10.0.0.0/8") from None


class Telemetry(_Section):
    """What is told about the gateway's work, and to whom; never content.

    `metrics` are for holders of an admin token, or open to everybody. Traces are sent where
    `otlp_endpoint` says, and passed on to upstreams with `forward_traceparent`.
    """

    metrics: Literal["token", "open", "off"] = "token"
    otlp_endpoint: HttpUrl | None = None
    otlp_headers: dict[str, SecretStr] = Field(default_factory=dict)
    service_name: str = "interactions-gateway"
    forward_traceparent: bool = False


def _strong(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) < 32 or len(set(secret.get_secret_value())) < 8:
        raise ValueError("too weak: use at least 32 random characters, e.g. `openssl rand -hex 32`")
    return secret


def _redis(url: SecretStr) -> SecretStr:
    if not _REDIS.fullmatch(url.get_secret_value()):
        raise ValueError("use redis://host:port/number or rediss://user:password@host:port/number")
    return url


def _readable_prices(path: Path) -> Path:
    try:
        prices.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    return path


class Settings(BaseSettings):
    """Every setting of the gateway, with its default."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True
    )

    database_url: str = "sqlite:///data/gateway.db"
    sqlite_synchronous: Literal["normal", "full"] = "normal"
    data_dir: Path = Path("data")
    public_url: HttpUrl | None = None
    pepper: Annotated[SecretStr, AfterValidator(_strong)] | None = None
    previous_pepper: Annotated[SecretStr, AfterValidator(_strong)] | None = None
    next_pepper: Annotated[SecretStr, AfterValidator(_strong)] | None = None
    admin_token: Annotated[SecretStr, AfterValidator(_strong)] | None = None
    auth: Literal["keys", "passthrough"] = "keys"
    default_revision: Literal["steps", "outputs"] = "steps"
    key_cache_seconds: float = Field(default=5, ge=0, le=60)
    trusted_proxies: list[Annotated[str, AfterValidator(_network)]] = Field(default_factory=list)
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    upstreams: list[Upstream] = Field(default_factory=list)
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    runs: Runs = Runs()
    retention: Retention = Retention()
    egress: Egress = Egress()
    prices: Annotated[Path, AfterValidator(_readable_prices)] | None = None
    redis_url: Annotated[SecretStr, AfterValidator(_redis)] | None = None
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
