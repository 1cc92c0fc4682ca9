"""Settings: from a file and the environment, and nothing that does not fit goes unnoticed."""

import json
import os
from pathlib import Path

import pytest

from app import settings
from app.settings import Settings, SettingsError

SECRET = "a-secret-that-must-never-be-shown-0123456789"


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path: Path) -> Path:
    """No setting at all, in a folder of its own."""
    for name in list(os.environ):
        if name.startswith(("GATEWAY_", "GEMINI_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GATEWAY_CONFIG", "")  # so that it is put back, whatever a test makes of it
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complaints(**environment: str) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        loaded(**environment)
    return refused.value.lines


def loaded(**environment: str) -> Settings:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return settings.load()


def test_without_settings_the_simulator_answers():
    made = loaded()
    assert [(upstream.name, upstream.kind) for upstream in made.upstreams] == [("simulator", "simulator")]
    assert made.database_url == "sqlite:///data/gateway.db"
    assert made.auth == "keys"
    assert made.retention.days == 55


def test_with_a_gemini_key_gemini_answers():
    [upstream] = loaded(GEMINI_API_KEY="AIza").upstreams
    assert (upstream.name, upstream.kind) == ("gemini", "interactions")
    assert str(upstream.base_url) == "https://generativelanguage.googleapis.com/"
    assert [each.key.get_secret_value() for each in upstream.api_keys] == ["AIza"]
    assert upstream.models == ["*"]


def test_callers_with_their_own_keys_need_no_key_here():
    [upstream] = loaded(GATEWAY_AUTH="passthrough").upstreams
    assert (upstream.name, upstream.api_keys) == ("gemini", [])


def test_the_environment_wins_over_the_file(clean: Path):
    (clean / "gateway.toml").write_text(
        """
        log_level = "debug"
        [retention]
        days = 7
        clock = "interaction"
        [limits]
        header_count = 50
        json_depth = 20
        [[upstreams]]
        name = "gemini"
        kind = "interactions"
        base_url = "https://gemini.example"
        api_keys = ["env:MY_KEY", "plain"]
        models = ["gemini-*"]
        """
    )
    made = loaded(MY_KEY="from-there", GATEWAY_RETENTION__DAYS="9", GATEWAY_LIMITS__JSON_DEPTH="30")
    assert (made.retention.days, made.retention.clock, made.log_level) == (9, "interaction", "debug")
    assert (made.limits.header_count, made.limits.json_depth) == (50, 30)
    assert [each.key.get_secret_value() for each in made.upstreams[0].api_keys] == ["from-there", "plain"]
    assert complaints() == ["upstreams.0.api_keys: the environment has no MY_KEY"]


def test_a_file_may_be_named(clean: Path):
    (clean / "other.toml").write_text("retention.days = 3")
    assert settings.load(clean / "other.toml").retention.days == 3
    assert os.environ["GATEWAY_CONFIG"] == str(clean / "other.toml")  # for the worker processes
    assert settings.load().retention.days == 3


def test_a_file_that_is_named_must_be_there(clean: Path):
    assert complaints(GATEWAY_CONFIG="none.toml") == ["GATEWAY_CONFIG: there is no file none.toml"]
    with pytest.raises(SettingsError, match=r"there is no file .*none\.toml"):
        settings.load(clean / "none.toml")


def test_what_is_not_known_is_named(clean: Path):
    assert complaints(GATEWAY_LOG_LEVLE="debug", GATEWAY_X__Y="1") == [
        "GATEWAY_LOG_LEVLE: there is no such setting",
        "GATEWAY_X__Y: there is no such setting",
    ]
    assert complaints(GATEWAY_LIMITS__BODY_BITES="1") == ["limits.body_bites: there is no such setting"]
    (clean / "gateway.toml").write_text('log_levle = "debug"\n[limits]\nbody_bites = 1\n')
    assert sorted(complaints()) == [
        "limits.body_bites: there is no such setting",
        "log_levle: there is no such setting",
    ]


WRONG = {
    "a weak pepper": (
        {"GATEWAY_PEPPER": "short"},
        "pepper: too weak: use at least 32 random characters, e.g. `openssl rand -hex 32`",
    ),
    "a monotonous pepper": ({"GATEWAY_PEPPER": "ab" * 40}, "pepper: too weak: "),
    "a weak previous pepper": ({"GATEWAY_PREVIOUS_PEPPER": "short"}, "previous_pepper: too weak: "),
    "a weak next pepper": ({"GATEWAY_NEXT_PEPPER": "short"}, "next_pepper: too weak: "),
    "another database": ({"GATEWAY_DATABASE_URL": "mysql://x/y"}, "database_url: use sqlite:///path or "),
    "a database without a name": (
        {"GATEWAY_DATABASE_URL": "sqlite:///"},
        "database_url: use sqlite:///path or ",
    ),
    "a database in memory": (
        {"GATEWAY_DATABASE_URL": "sqlite:///:memory:"},
        "database_url: use sqlite:///path or ",
    ),
    "retention": ({"GATEWAY_RETENTION__DAYS": "-1"}, "retention.days: "),
    "another clock": (
        {"GATEWAY_RETENTION__CLOCK": "wall"},
        "retention.clock: Input should be 'conversation' or ",
    ),
    "a setting that has moved": (
        {"GATEWAY_RETENTION_DAYS": "9"},
        "GATEWAY_RETENTION_DAYS: there is no such setting",
    ),
    "a number that is none": ({"GATEWAY_LIMITS__BODY_BYTES": "many"}, "limits.body_bytes: "),
    "a choice": ({"GATEWAY_AUTH": "none"}, "auth: Input should be 'keys' or 'passthrough'"),
    "a list that is no JSON": ({"GATEWAY_UPSTREAMS": "gemini"}, 'error parsing value for field "upstreams"'),
    "a lease that lapses between two heartbeats": (
        {"GATEWAY_RUNS__LEASE": "10", "GATEWAY_RUNS__HEARTBEAT": "10"},
        "runs: 'lease' must be longer than 'heartbeat'",
    ),
    "two of one name": (
        {"GATEWAY_UPSTREAMS": '[{"name":"a","kind":"simulator"},{"name":"a","kind":"simulator"}]'},
        "upstreams: two upstreams have the same name",
    ),
    "an unknown kind": ({"GATEWAY_UPSTREAMS": '[{"name":"a","kind":"b"}]'}, "upstreams.0.kind: "),
    "an unknown field": (
        {"GATEWAY_UPSTREAMS": '[{"name":"a","kind":"simulator","color":1}]'},
        "upstreams.0.color: there is no such setting",
    ),
    "a name for a header": (
        {"GATEWAY_UPSTREAMS": '[{"name":"a b","kind":"simulator"}]'},
        "upstreams.0.name: ",
    ),
    "a network of admins that is none": (
        {"GATEWAY_ADMIN_NETWORKS": '["office"]'},
        "admin_networks.0: 'office' is no network, as 10.0.0.0/8",
    ),
    "an upstream that is nowhere": (
        {"GATEWAY_UPSTREAMS": '[{"name":"a","kind":"interactions"}]'},
        "upstreams.0: an upstream of kind 'interactions' needs a 'base_url'",
    ),
    "an upstream that is no web site": (
        {"GATEWAY_UPSTREAMS": '[{"name":"a","kind":"interactions","base_url":"file:///etc"}]'},
        "upstreams.0.base_url: ",
    ),
}


@pytest.mark.parametrize(("environment", "line"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_in_one_line(environment, line):
    [complaint] = complaints(**environment)
    assert complaint.startswith(line)
    assert "\n" not in complaint


@pytest.mark.parametrize(
    ("url", "more"),
    [
        ("https://models.example", {"api_keys": ["k"]}),
        ("http://models.example", {}),
        ("http://models.example", {"api_keys": ["k"], "plain_http": True}),
        ("http://127.0.0.1:8000", {"api_keys": ["k"]}),
        ("http://127.8.9.1:8000", {"api_keys": ["k"]}),
        ("http://localhost:8000", {"api_keys": ["k"]}),
        ("http://[::1]:8000", {"api_keys": ["k"]}),
        ("http://models.example", {"api_keys": ["k"], "kind": "simulator"}),
    ],
)
def test_keys_go_where_nobody_can_read_them_or_somebody_said_so(url, more):
    upstream = {"name": "up", "kind": "interactions", "base_url": url, **more}
    [made] = loaded(GATEWAY_UPSTREAMS=json.dumps([upstream])).upstreams
    assert made.name == "up"


@pytest.mark.parametrize(
    ("host", "environment"),
    [
        ("127.0.0.1", {"GATEWAY_ADMIN_TOKEN": SECRET}),
        ("::1", {"GATEWAY_ADMIN_TOKEN": SECRET}),
        ("localhost", {"GATEWAY_ADMIN_TOKEN": SECRET}),
        ("0.0.0.0", {}),
        ("0.0.0.0", {"GATEWAY_ADMIN_TOKEN": SECRET, "GATEWAY_ADMIN_NETWORKS": '["10.0.0.0/8"]'}),
        ("::", {"GATEWAY_ADMIN_TOKEN": SECRET, "GATEWAY_ADMIN_NETWORKS": "[]"}),
    ],
)
def test_the_admin_api_is_reached_from_elsewhere_only_if_that_was_meant(host, environment):
    settings.check_host(loaded(**environment), host)


def test_a_file_that_cannot_be_read_is_one_line(clean: Path):
    (clean / "gateway.toml").write_text("= 5")
    [complaint] = complaints()
    assert "\n" not in complaint


def test_everything_wrong_is_said_at_once():
    found = complaints(GATEWAY_RETENTION__DAYS="x", GATEWAY_LOG_LEVEL="loud", GATEWAY_PEPPER="short")
    assert [line.partition(":")[0] for line in found] == ["pepper", "log_level", "retention.days"]


def test_secrets_are_never_shown():
    made = loaded(GATEWAY_PEPPER=SECRET, GEMINI_API_KEY=SECRET + "key")
    assert SECRET not in repr(made) + str(made) + repr(made.model_dump())
    upstreams = [{"name": "a", "kind": "simulator", "api_keys": [SECRET], "x": 1}]
    assert SECRET not in str(complaints(GATEWAY_UPSTREAMS=json.dumps(upstreams)))
    assert SECRET[:20] not in str(complaints(GATEWAY_PEPPER=SECRET[:20]))


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("postgres://h/db", "postgresql://h/db"),
        (
            "postgresql://u:p%40ss@h:5432/db?sslmode=require",
            "postgresql://u:p%40ss@h:5432/db?sslmode=require",
        ),
        ("sqlite:////var/lib/g.db", "sqlite:////var/lib/g.db"),
    ],
)
def test_database_urls(url, kept):
    assert loaded(GATEWAY_DATABASE_URL=url).database_url == kept


def test_settings_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        loaded().retention = settings.Retention()
