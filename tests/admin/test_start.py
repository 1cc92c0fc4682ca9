"""Row W1: wrong settings stop the start, in one line, with exit code 2, before anything is made."""

import json
from pathlib import Path

import pytest

from app.store import engines
from tests.admin.conftest import Command

ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
STRONG = "f1f6a2be9c5d4f30b2a7c1e8d9304b5a6c7d8e9f"


@pytest.fixture
def refused(command: Command, tmp_path: Path):
    """Why `gateway serve` was refused."""

    def serve(*arguments: str, **environment: str) -> str:
        line = command("serve", *arguments, **environment).refusal(2)
        assert not (tmp_path / "data").exists()
        return line

    return serve


def upstream(url: str, **more: object) -> str:
    return json.dumps([{"name": "up", "kind": "interactions", "base_url": url, **more}])


@ON_SQLITE
def test_w1_an_unknown_setting(refused, tmp_path: Path):
    assert refused(GATEWAY_COLOUR="red") == "settings: GATEWAY_COLOUR: there is no such setting"
    (tmp_path / "gateway.toml").write_text('colour = "red"')
    assert refused() == "settings: colour: there is no such setting"


@ON_SQLITE
def test_w1_a_typo(refused, tmp_path: Path):
    assert refused(GATEWAY_LIMITS__BODY_BITES="9") == "settings: limits.body_bites: there is no such setting"
    (tmp_path / "gateway.toml").write_text("[[upstreams]]\nnmae = 'a'\nname = 'a'\nkind = 'simulator'")
    assert refused() == "settings: upstreams.0.nmae: there is no such setting"


@ON_SQLITE
@pytest.mark.parametrize("name", ["pepper", "admin_token"])
def test_w1_a_secret_that_is_too_short(refused, name: str):
    line = refused(**{f"GATEWAY_{name.upper()}": STRONG[:31]})
    assert line.startswith(f"settings: {name}: too weak: ")
    assert STRONG[:31] not in line


@ON_SQLITE
@pytest.mark.parametrize("name", ["pepper", "admin_token"])
@pytest.mark.parametrize(
    "secret",
    [
        "change-me-change-me-change-me-change-me",
        "CHANGE_THIS_TO_A_LONG_RANDOM_STRING_0123456789",
        "<your-secret-of-at-least-32-random-characters>",
        "placeholder-0123456789-0123456789-0123",
    ],
)
def test_w1_a_default_secret(refused, name: str, secret: str):
    line = refused(**{f"GATEWAY_{name.upper()}": secret})
    assert line.startswith(f"settings: {name}: this is an example, not a secret: ")
    assert secret not in line


@ON_SQLITE
def test_w1_sqlite_for_several_replicas(refused, monkeypatch, tmp_path: Path):
    """What several machines share is a network file system."""
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 0 0:1 / / rw - ext4 /dev/a rw\n2 1 0:2 / {tmp_path} rw - nfs4 there:/ rw\n")
    monkeypatch.setattr(engines, "_MOUNTS", mounts)
    line = refused(GATEWAY_DATABASE_URL=f"sqlite:///{tmp_path}/gateway.db")
    assert line.startswith(f"settings: database_url: {tmp_path}/gateway.db is on a file system that machines")
    assert not (tmp_path / "gateway.db").exists()


@ON_SQLITE
@pytest.mark.parametrize("url", ["http://models.example", "http://10.1.2.3:8000", "http://localhost.example"])
def test_w1_an_http_upstream_with_a_key(refused, url: str):
    text = "upstreams: the keys for 'up' would cross the network in the clear: use https"
    for environment in (
        {"GATEWAY_UPSTREAMS": upstream(url, api_keys=["k"])},
        {"GATEWAY_UPSTREAMS": upstream(url), "GATEWAY_AUTH": "passthrough"},
    ):
        assert refused(**environment) == f"settings: {text}, or set its 'plain_http'"


@ON_SQLITE
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "2001:db8::7", "gateway.example"])
def test_w1_admin_on_a_public_bind(refused, host: str):
    line = refused("--host", host, GATEWAY_ADMIN_TOKEN=STRONG)
    assert line == (
        f"settings: admin_token: the gateway is to listen on {host}: say in 'admin_networks' "
        'where the admin API may be used from, as ["10.0.0.0/8"]'
    )
