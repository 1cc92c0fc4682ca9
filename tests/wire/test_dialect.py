"""The dialect of every SDK, by the headers that it was seen to send."""

import pytest

from app.wire import dialect
from app.wire.dialect import choose

SDKS = {
    "python 1.55": (
        "outputs",
        [
            ("user-agent", "GeminiNextGenAPIClient/Python 1.55.0"),
            ("user-agent", "google-genai-sdk/1.55.0 gl-python/3.12.1"),
            ("x-goog-api-client", "google-genai-sdk/1.55.0 gl-python/3.12.1"),
            ("x-stainless-lang", "python"),
        ],
    ),
    "python 1.75": (
        "outputs",
        [
            ("user-agent", "GeminiNextGenAPIClient/Python 1.75.0"),
            ("x-goog-api-client", "google-genai-sdk/1.75.0 gl-python/3.12.1"),
        ],
    ),
    "python 1.75, only the user agent": ("outputs", [("user-agent", "GeminiNextGenAPIClient/Python 1.75.0")]),
    "python 2.0": (
        "steps",
        [
            ("api-revision", "2026-05-20"),
            ("user-agent", "GeminiNextGenAPIClient/Python 2.0.0"),
            ("x-goog-api-client", "google-genai-sdk/2.0.0 gl-python/3.12.1"),
        ],
    ),
    "python 2.9": (
        "steps",
        [
            ("user-agent", "speakeasy-sdk/python 2.4.1-preview.5 internal v1beta google-genai"),
            ("x-goog-api-client", "google-genai-sdk/2.9.0 gl-python/3.12.1"),
            ("api-revision", "2026-05-20"),
        ],
    ),
    "python 2.20": (
        "steps",
        [
            ("user-agent", "speakeasy-sdk/python 1.2.3 internal v1beta google-genai"),
            ("x-goog-api-client", "google-genai-sdk/2.20.0 gl-python/3.12.1"),
        ],
    ),
    "python 3.4": (
        "steps",
        [
            ("user-agent", "google-genai-sdk/3.4.0 gl-python/3.12.1"),
            ("x-goog-api-client", "google-genai-sdk/3.4.0 gl-python/3.12.1"),
        ],
    ),
    "javascript 1.33": ("outputs", [("x-goog-api-client", "google-genai-sdk/1.33.0 gl-node/v20.1.0")]),
    "javascript 1.52": (
        "outputs",
        [
            ("user-agent", "google-genai-sdk/1.52.0 gl-node/v20.1.0"),
            ("x-goog-api-client", "google-genai-sdk/1.52.0 gl-node/v20.1.0"),
        ],
    ),
    "javascript 2.32": ("steps", [("x-goog-api-client", "google-genai-sdk/2.32.0 gl-node/v20.1.0")]),
    "javascript 3.1": ("steps", [("x-goog-api-client", "google-genai-sdk/3.1.0 gl-node/v20.1.0")]),
    "a version 1 with a suffix": (
        "outputs",
        [("x-goog-api-client", "google-genai-sdk/1.75.0+afc+chat gl-python/3")],
    ),
    "a version 1 behind another name": (
        "outputs",
        [("x-goog-api-client", "my-app/9 google-genai-sdk/1.60.0")],
    ),
    "a version that begins with 1": (
        "steps",
        [("x-goog-api-client", "google-genai-sdk/10.0.0 gl-python/3.14")],
    ),
    "curl": ("steps", [("user-agent", "curl/8.5.0")]),
    "nothing": ("steps", []),
}
OLD_SDK = ("x-goog-api-client", "google-genai-sdk/1.75.0 gl-python/3.12.1")
NEW_SDK = ("x-goog-api-client", "google-genai-sdk/3.4.0 gl-python/3.12.1")


def chosen(*headers, default="steps"):
    return choose([(name.encode(), value.encode()) for name, value in headers], default)


@pytest.mark.parametrize(("dialect", "headers"), SDKS.values(), ids=SDKS.keys())
def test_every_sdk_gets_what_it_can_read(dialect, headers):
    assert chosen(*headers) == dialect
    assert chosen(*reversed(headers)) == dialect


@pytest.mark.parametrize("sdk", [OLD_SDK, NEW_SDK])
@pytest.mark.parametrize(
    ("revision", "dialect"),
    [
        ("2026-05-20", "steps"),
        ("2026-05-21", "steps"),
        ("2031-01-01", "steps"),
        ("2026-05-19", "outputs"),
        ("2026-05-07", "outputs"),
        ("1999-12-31", "outputs"),
    ],
)
def test_a_revision_decides_whoever_sends_it(sdk, revision, dialect):
    assert chosen(sdk, ("api-revision", revision)) == dialect
    assert chosen(("api-revision", revision), sdk) == dialect


@pytest.mark.parametrize(
    "revision", ["", "latest", "2026-5-20", "20260520", "2026-05-20T00:00", "٢٠٢٦-05-20"]
)
def test_a_revision_that_cannot_be_read_decides_nothing(revision):
    assert chosen(OLD_SDK, ("api-revision", revision)) == "outputs"
    assert chosen(NEW_SDK, ("api-revision", revision)) == "steps"


def test_whoever_says_nothing_gets_the_default():
    assert chosen(("user-agent", "curl/8.5.0"), default="outputs") == "outputs"
    assert chosen(OLD_SDK, default="steps") == "outputs"


EARLY = {
    "google-genai-sdk/1.55.0 gl-python/3.12.1": True,
    "google-genai-sdk/1.69.9 gl-python/3.12.1": True,
    "google-genai-sdk/1.70.0 gl-python/3.12.1": False,
    "google-genai-sdk/1.75.0+afc+chat gl-python/3.12.1": False,
    "google-genai-sdk/1.33.0 gl-node/v20.1.0": True,
    "google-genai-sdk/1.47.0 gl-node/v20.1.0": True,
    "google-genai-sdk/1.48.0 gl-node/v20.1.0": False,
    "google-genai-sdk/1.52.0 gl-node/v20.1.0": False,
}


@pytest.mark.parametrize(("client", "early"), EARLY.items())
def test_the_earliest_sdks_have_a_dialect_of_their_own(client, early):
    found = dialect.of([(b"x-goog-api-client", client.encode())], "steps")
    assert found is (dialect._EARLY_OUTPUTS if early else dialect._OUTPUTS)


@pytest.mark.parametrize(
    "client",
    [
        "google-genai-sdk/",
        "google-genai-sdk/1",
        "google-genai-sdk/one.two",
        "google-genai-sdk/1." + "9" * 9000,
    ],
)
def test_a_version_that_cannot_be_read_upsets_nothing(client):
    headers = [(b"x-goog-api-client", client.encode()), (b"user-agent", b"\xff\x00")]
    for default in ("steps", "outputs"):
        assert dialect.of(headers, default)
