"""Where a request comes from: nobody can choose it but proxies that are trusted (row C9)."""

import pytest

from app.auth.addresses import Addresses

PROXY, OTHER_PROXY, CLIENT = "10.0.0.1", "10.0.0.2", "203.0.113.7"
TRUSTED = Addresses(["10.0.0.0/8", "fd00::/8"])


def client(peer: str | None, *forwarded: str, addresses: Addresses = TRUSTED) -> str | None:
    headers = [(b"x-forwarded-for", each.encode("latin-1")) for each in forwarded]
    return addresses.client(headers, None if peer is None else (peer, 1234))


def test_without_trusted_proxies_the_peer_is_the_client():
    assert client(PROXY, CLIENT, addresses=Addresses()) == PROXY
    assert client(None, CLIENT, addresses=Addresses()) is None


def test_a_peer_that_is_no_proxy_cannot_say_who_it_is():
    assert client(CLIENT, "10.9.9.9", "8.8.8.8") == CLIENT
    assert client("unix", "10.9.9.9") == "unix"
    assert client(None, "10.9.9.9") is None


@pytest.mark.parametrize(
    ("forwarded", "found"),
    [
        ([CLIENT], CLIENT),
        ([f"8.8.8.8, {CLIENT}"], CLIENT),
        ([f"8.8.8.8, {CLIENT}, {OTHER_PROXY}"], CLIENT),
        (["8.8.8.8", CLIENT, OTHER_PROXY], CLIENT),
        ([f"10.1.1.1, {CLIENT}"], CLIENT),
        ([f"{CLIENT}:4711"], CLIENT),
        (["[2001:db8::1]:443"], "2001:db8::1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["::ffff:203.0.113.7"], CLIENT),
        ([f"{CLIENT}, ::ffff:10.0.0.9"], CLIENT),
        ([f"{CLIENT}, fd00::1"], CLIENT),
        ([f"{OTHER_PROXY}"], OTHER_PROXY),
        ([], PROXY),
        ([""], None),
        ([f"{CLIENT}, unknown"], None),
        ([f"{CLIENT}, <script>"], None),
        (["\xff"], None),
    ],
)
def test_what_trusted_proxies_have_added_counts_from_the_end(forwarded: list[str], found: str | None):
    assert client(PROXY, *forwarded) == found
