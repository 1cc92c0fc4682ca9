"""Values of settings that are more than a type."""

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, SecretStr

from app.core import prices

_REDIS = re.compile(r"rediss?://\S+")
_PLACEHOLDER = re.compile(
    r"(change|replace|insert|put|your).?(this|me|it|here|secret|pepper|token)|placeholder"
)


def is_this_machine(host: str) -> bool:
    """Whether a host is reached without leaving the machine, and nothing else is."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _strong(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    if len(text) < 32 or len(set(text)) < 8:
        raise ValueError("too weak: use at least 32 random characters, e.g. `openssl rand -hex 32`")
    if _PLACEHOLDER.search(text.lower()):
        raise ValueError("this is an example, not a secret: use e.g. `openssl rand -hex 32`")
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


def _network(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        raise ValueError(f"'{text}' is no network, as 10.0.0.0/8") from None


Secret = Annotated[SecretStr, AfterValidator(_strong)]
RedisUrl = Annotated[SecretStr, AfterValidator(_redis)]
PriceTable = Annotated[Path, AfterValidator(_readable_prices)]
NetworkText = Annotated[str, AfterValidator(_network)]
