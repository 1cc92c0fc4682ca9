"""The `webhook_config` of a request, and what a receiver is sent."""

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, hmac

from app.core.model import Interaction, Request
from app.egress import Guard
from app.errors import InvalidRequest
from app.settings import Egress
from app.wire import webhooks

OPEN = Guard(Egress(enabled=True))
GOOD = "https://hooks.example.com/"


def asked(config: Any, **fields: Any) -> Request:
    return Request(input=[], model="m", options={"webhook_config": config}, **fields)


def interaction(status: str, error: bytes | None = None) -> Interaction:
    return Interaction(
        id="v1_some_interaction",
        project_id="prj_mine",
        status=status,
        created_at=1_790_000_000_000,
        updated_at=1_790_000_001_500,
        model="m",
        agent=None,
        parent_id=None,
        root_id="v1_some_interaction",
        depth=0,
        background=True,
        options=b"{}",
        input=b'[{"type":"user_input","content":"secret"}]',
        output=b'[{"type":"model_output","content":"secret"}]',
        details=b'{"usage":{}}',
        error=error,
        last_seq=3,
        history_bytes=0,
    )


@pytest.mark.parametrize(
    "config",
    [
        {"uris": [GOOD]},
        {"uris": [GOOD] * 5, "user_metadata": {"job": {"n": [1, None, "ä"]}}},
        {"uris": [GOOD], "user_metadata": None},
        {"uris": [GOOD], "user_metadata": {}},
    ],
)
def test_a_good_one_passes(config: Any):
    webhooks.check(asked(config), OPEN)
    webhooks.check(asked(config, background=True), OPEN)


@pytest.mark.parametrize("guard", [OPEN, Guard(Egress())])
def test_without_one_there_is_nothing_to_check(guard: Guard):
    webhooks.check(Request(input=[], model="m", store=False), guard)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "'webhook_config' must be an object."),
        ("https://x.example", "'webhook_config' must be an object."),
        ({}, "'webhook_config.uris' must be a list of 1 to 5 URLs."),
        ({"uris": None}, "'webhook_config.uris' must be a list of 1 to 5 URLs."),
        ({"uris": GOOD}, "'webhook_config.uris' must be a list of 1 to 5 URLs."),
        ({"uris": []}, "'webhook_config.uris' must be a list of 1 to 5 URLs."),
        ({"uris": [GOOD] * 6}, "'webhook_config.uris' must be a list of 1 to 5 URLs."),
        ({"uris": [GOOD, 1]}, "'webhook_config.uris[1]' must be a string."),
        ({"uris": [GOOD, "http://x.example/"]}, "'webhook_config.uris[1]' must begin with https://."),
        (
            {"uris": ["https://169.254.169.254/"]},
            "'webhook_config.uris[0]' names an address that is not public.",
        ),
        ({"uris": [GOOD], "secret": "x"}, "'webhook_config.secret' is not supported."),
        ({"uris": [GOOD], "user_metadata": []}, "'webhook_config.user_metadata' must be an object."),
        (
            {"uris": [GOOD], "user_metadata": {"x": "y" * 16384}},
            "'webhook_config.user_metadata' is larger than 16384 bytes.",
        ),
    ],
)
def test_s2_a_bad_one_is_refused_by_name(config: Any, message: str):
    with pytest.raises(InvalidRequest) as refused:
        webhooks.check(asked(config), OPEN)
    assert refused.value.message == message


def test_it_is_refused_where_egress_is_turned_off():
    with pytest.raises(InvalidRequest, match=r"webhooks are turned off here, 'egress\.enabled'"):
        webhooks.check(asked({"uris": [GOOD]}), Guard(Egress(allow=["hooks.example.com"])))


def test_it_is_refused_where_there_would_be_nothing_to_read():
    with pytest.raises(InvalidRequest, match="needs 'store'"):
        webhooks.check(asked({"uris": [GOOD]}, store=False), OPEN)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("completed", "interaction.completed"),
        ("failed", "interaction.failed"),
        ("requires_action", "interaction.requires_action"),
        ("cancelled", "interaction.cancelled"),
        ("incomplete", "interaction.completed"),
        ("budget_exceeded", "interaction.completed"),
        ("a_word_of_tomorrow", "interaction.completed"),
    ],
)
def test_what_is_told_is_thin(status: str, kind: str):
    assert json.loads(webhooks.notice(interaction(status), {"uris": [GOOD]})) == {
        "type": kind,
        "version": "v1",
        "timestamp": "2026-09-21T14:13:21Z",
        "data": {"id": "v1_some_interaction"},
    }


def test_a_failure_says_why():
    failed = interaction("failed", b'{"code":"bad_gateway","message":"It broke.","more":1}')
    assert json.loads(webhooks.notice(failed, {"uris": [GOOD]}))["data"] == {
        "id": "v1_some_interaction",
        "error_code": "bad_gateway",
        "error_message": "It broke.",
    }


def test_the_metadata_comes_back():
    config = {"uris": [GOOD], "user_metadata": {"job": [1, "ä"]}}
    told = json.loads(webhooks.notice(interaction("completed"), config))
    assert told["data"] == {"id": "v1_some_interaction", "user_metadata": {"job": [1, "ä"]}}


def test_the_signature_is_that_of_standard_webhooks():
    """Made anew with another library."""
    body = '{"ä":1}'.encode()
    found = webhooks.headers([b"secret"], "msg_1", 1_790_000_000, body)
    theirs = hmac.HMAC(b"secret", hashes.SHA256())
    theirs.update(b"msg_1.1790000000." + body)
    assert dict(found) == {
        "content-type": "application/json",
        "webhook-id": "msg_1",
        "webhook-timestamp": "1790000000",
        "webhook-signature": "v1," + base64.b64encode(theirs.finalize()).decode(),
    }
