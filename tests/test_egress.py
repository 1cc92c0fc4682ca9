"""The egress guard: rows S1 and S2, as URLs, as addresses behind names, and as receivers that misbehave."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from app.egress import Guard, Lookup, Poster, Unreachable, is_public, lookup
from app.errors import InvalidRequest
from app.settings import Egress
from tests.support.upstream import HANG, Action, Pause, ScriptedUpstream, answer, chunk, head

HOST = "hooks.example.com"

HOSTILE_ADDRESSES = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.254",
    "192.0.0.1",
    "192.0.0.8",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:0.0.0.0",
    "::ffff:10.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::10.0.0.1",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1::8.8.8.8",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:2::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "2606:4700::5efe:127.0.0.1",
    "2606:4700::200:5efe:10.0.0.1",
    "2606:4700::5efe:8.8.8.8",
    "4000::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::5efe:127.0.0.1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
PUBLIC_ADDRESSES = [
    "1.1.1.1",
    "8.8.8.8",
    "172.32.0.1",
    "100.128.0.1",
    "192.0.1.1",
    "2606:4700:4700::1111",
    "2a00:1450::1",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
]

SPELLINGS = [
    "https://2130706433/",
    "https://0x7f000001/",
    "https://0x7f.1/",
    "https://0X7F.0.0.1/",
    "https://017700000001/",
    "https://0177.0.0.1/",
    "https://127.1/",
    "https://127.0.1/",
    "https://127.0.0.1./",
    "https://127.000.000.001/",
    "https://127.0.0.0x1/",
    "https://0/",
    "https://0x/",
    "https://8.8.2056/",
    "https://256.256.256.256/",
    "https://4294967297/",
    "https://１２７.0.0.1/",
    "https://①②⑦.0.0.1/",
    "https://127。0。0。1/",
    "https://[::ffff:7f00:1]/",
    "https://[0:0:0:0:0:ffff:127.0.0.1]/",
    "https://[::1%25lo]/",
    "https://[2606:4700::1%25eth0]/",
    "https://[::1/",
]
HOSTS = [
    "https://localhost/",
    "https://LOCALHOST/",
    "https://localhost./",
    "https://ｌｏｃａｌｈｏｓｔ/",
    "https://x.localhost/",
    "https://printer.local/",
    "https://metadata/",
    "https://metadata.google.internal/",
    "https://metadata.google.internal./",
    "https://router.home.arpa/",
    "https://a..example.com/",
    "https://.example.com/",
    "https://example.com../",
    "https://-a.example.com/",
    "https://a%2eexample.com/",
    "https://exam ple.com/",
    f"https://{'a' * 64}.example.com/",
    f"https://{'a.' * 130}com/",
]
SHAPES = [
    "",
    "x",
    "//hooks.example.com/",
    "https:hooks.example.com",
    "https:///x",
    "https://",
    "http://hooks.example.com/",
    "ftp://hooks.example.com/",
    "file:///etc/passwd",
    "file://hooks.example.com/etc/passwd",
    "gopher://hooks.example.com:70/_x",
    "data:text/plain,x",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "https://user@hooks.example.com/",
    "https://user:password@hooks.example.com/",
    "https://:password@hooks.example.com/",
    "https://hooks.example.com@127.0.0.1/",
    "https://127.0.0.1\\@hooks.example.com/",
    "https://hooks.example.com\\@127.0.0.1/",
    "https://hooks.example.com/#fragment",
    "https://hooks.example.com#@127.0.0.1/",
    "https://hooks.example.com/\r\nx-injected: 1",
    "https://hooks.example.com/\0",
    "https://hooks.example.com/\x1b[31m",
    "https://hooks.example.com/\u2028",
    "\thttps://hooks.example.com/",
    "https://hooks.example.com/ ",
    "https://hooks.example.com:0/",
    "https://hooks.example.com:22/",
    "https://hooks.example.com:25/",
    "https://hooks.example.com:80/",
    "https://hooks.example.com:65536/",
    "https://hooks.example.com:-1/",
    "https://hooks.example.com:x/",
    f"https://hooks.example.com/{'x' * 2048}",
]
FINE = [
    "https://hooks.example.com",
    "HTTPS://HOOKS.EXAMPLE.COM/",
    "https://hooks.example.com./a/b?token=x%20y&z",
    "https://hooks.example.com:443/",
    "https://hooks.example.com:8443/",
    "https://bücher.example/überall",
    "https://under_score.example/",
    "https://8.8.8.8/",
    "https://[2606:4700::1111]:8443/",
]


def literal(address: str) -> str:
    return f"https://[{address}]/" if ":" in address else f"https://{address}/"


HOSTILE = [*SPELLINGS, *HOSTS, *SHAPES, *map(literal, HOSTILE_ADDRESSES)]


def guard(*allow: str, seconds: float = 10) -> Guard:
    return Guard(Egress(enabled=True, allow=list(allow), seconds=seconds))


class Names:
    """A name server: each look-up gets the next answer, the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.asked: list[str] = []
        self._answers = [*answers]

    async def __call__(self, host: str, _port: int) -> list[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


async def post(url: str, rules: Guard, find: Lookup = lookup) -> int:
    async with Poster(rules, find) as poster:
        return await poster.post(url, b"{}", {})


@asynccontextmanager
async def receiver(*actions: Action) -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as made:
        made.script(*actions)
        yield made


@pytest.mark.parametrize("address", HOSTILE_ADDRESSES)
def test_s1_an_address_that_is_not_public(address: str):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC_ADDRESSES)
def test_s1_an_address_that_is_public(address: str):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("url", HOSTILE)
async def test_s2_a_hostile_url_is_refused_at_registration_and_at_delivery(url: str):
    with pytest.raises(InvalidRequest) as refused:
        guard().check(url, "webhook_config.uris[0]")
    assert refused.value.message.startswith("'webhook_config.uris[0]' ")
    names = Names(["8.8.8.8"])
    with pytest.raises(Unreachable, match=r"^it "):  # an objection, not a failure to connect
        await post(url, guard(), names)
    assert names.asked == []


@pytest.mark.parametrize("url", FINE)
def test_s2_a_good_url_passes(url: str):
    guard().check(url, "uri")


@pytest.mark.parametrize("url", [*FINE, "https://127.0.0.1/"])
async def test_s2_nothing_passes_where_egress_is_turned_off(url: str):
    closed = Guard(Egress(allow=["127.0.0.0/8"]))
    with pytest.raises(InvalidRequest, match=r"egress\.enabled"):
        closed.check(url, "uri")
    with pytest.raises(Unreachable, match="turned off"):
        await post(url, closed)


@pytest.mark.parametrize("address", HOSTILE_ADDRESSES)
async def test_s2_a_name_for_an_address_that_is_not_public(address: str):
    with pytest.raises(Unreachable, match="not public"):
        await post(f"https://{HOST}/", guard(), Names([address]))


async def test_s2_one_bad_address_among_good_ones_spoils_them_all():
    async with receiver(answer({})) as home:
        port = home.url.rpartition(":")[2]
        with pytest.raises(Unreachable, match="not public"):
            await post(f"https://{HOST}:{port}/", guard("127.0.0.0/8"), Names(["127.0.0.1", "10.0.0.1"]))
        assert home.requests == []


async def test_s2_a_name_without_addresses():
    for nothing in ([], ["nonsense"]):
        with pytest.raises(Unreachable):
            await post(f"https://{HOST}/", guard(), Names(nothing))


@pytest.mark.parametrize(
    ("allow", "url"),
    [
        ("127.0.0.0/8", "http://127.0.0.1:8080/"),
        ("127.0.0.0/8", "https://127.0.0.1:22/"),
        ("127.0.0.0/8", "http://[::ffff:127.0.0.1]/"),
        ("10.1.2.3", "http://10.1.2.3/"),
        ("fd00::/8", "http://[fd00::1]/"),
        ("receiver", "http://receiver:80/"),
        ("receiver", "http://RECEIVER./"),
        ("Receiver.internal", "http://receiver.internal/"),
    ],
)
def test_what_the_operator_allows_passes(allow: str, url: str):
    with pytest.raises(InvalidRequest):
        guard().check(url, "uri")
    guard(allow).check(url, "uri")


@pytest.mark.parametrize(
    "url",
    [
        "http://10.1.2.4/",
        "http://10.1.2.3@hooks.example.com/",
        "http://x.receiver/",
        "http://receiver.example/",
        "http://receiver:0/",
        "ftp://receiver/",
        "http://user@receiver/",
    ],
)
def test_what_is_allowed_allows_nothing_else(url: str):
    with pytest.raises(InvalidRequest):
        guard("10.1.2.3", "receiver").check(url, "uri")


async def test_a_host_that_is_allowed_by_name_may_be_anywhere():
    async with receiver(answer({}, "202 Accepted")) as home:
        port = home.url.rpartition(":")[2]
        assert await post(f"http://receiver:{port}/x?y=z", guard("receiver"), Names(["127.0.0.1"])) == 202
        assert home.requests[0].line == "POST /x?y=z HTTP/1.1"
        assert home.requests[0].headers["host"] == f"receiver:{port}"


async def test_s2_dns_rebinding_changes_nothing_for_a_connection(tmp_path: Path, monkeypatch):
    """The name changes its address after the look-up; the checked one is called, by TLS for the name."""
    tls = certificate(tmp_path, HOST)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    calls: list[str] = []
    async with tls_server(calls, "127.0.0.1", 0, tls) as port, tls_server(calls, "127.0.0.2", port, tls):
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        assert await post(f"https://{HOST}:{port}/", guard("127.0.0.1"), names) == 200
        assert (names.asked, calls) == ([HOST], ["127.0.0.1"])


async def test_s2_dns_rebinding_is_noticed_at_the_next_delivery(tmp_path: Path, monkeypatch):
    tls = certificate(tmp_path, HOST)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    calls: list[str] = []
    async with (
        tls_server(calls, "127.0.0.1", 0, tls) as port,
        tls_server(calls, "127.0.0.2", port, tls),
        Poster(guard("127.0.0.1"), Names(["127.0.0.1"], ["127.0.0.2"])) as poster,
    ):
        assert await poster.post(f"https://{HOST}:{port}/", b"", {}) == 200
        with pytest.raises(Unreachable, match="not public"):
            await poster.post(f"https://{HOST}:{port}/", b"", {})
        assert calls == ["127.0.0.1"]


async def test_a_certificate_must_be_the_hosts(tmp_path: Path, monkeypatch):
    tls = certificate(tmp_path, "other.example.com")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    calls: list[str] = []
    async with tls_server(calls, "127.0.0.1", 0, tls) as port:
        with pytest.raises(Unreachable, match="Certificate"):
            await post(f"https://{HOST}:{port}/", guard("127.0.0.1"), Names(["127.0.0.1"]))
    assert calls == []


async def test_s2_a_redirect_is_not_followed():
    async with receiver(answer({})) as secret:
        for status in ("301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"):
            async with receiver(answer({}, status, location=secret.url)) as home:
                assert await post(home.url, guard("127.0.0.0/8")) == int(status[:3])
        assert secret.requests == []


async def test_s2_no_proxy_of_the_environment_is_used(monkeypatch):
    async with receiver(answer({}, "500 Proxy")) as proxy, receiver(answer({})) as home:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("no_proxy", "")
        assert await post(home.url, guard("127.0.0.0/8")) == 200
        assert proxy.requests == []


@pytest.mark.parametrize(
    "actions",
    [
        [HANG],
        [b"HTTP/1.1 200 OK\r\n", HANG],
        [*[action for _ in range(1000) for action in (b"HTTP/1.1 102 Processing\r\n\r\n", Pause(0.1))]],
    ],
)
async def test_s2_a_slow_receiver_is_left(actions: list[Action]):
    async with receiver(*actions) as home:
        with pytest.raises(Unreachable, match="in time"):
            await post(home.url, guard("127.0.0.0/8", seconds=0.5))
        await home.requests[0].abandoned()


async def test_s2_a_slow_name_server_is_left():
    async def never(_host: str, _port: int) -> list[str]:
        return await asyncio.get_running_loop().create_future()

    with pytest.raises(Unreachable, match="in time"):
        await post(f"https://{HOST}/", guard(seconds=0.2), never)


@pytest.mark.parametrize("tail", [[HANG], []])
async def test_s2_what_was_answered_counts_however_the_body_ends(tail: list[Action]):
    async with receiver(head(transfer_encoding="chunked"), chunk(b"x"), *tail) as home:
        assert await post(home.url, guard("127.0.0.0/8", seconds=0.5)) == 200


async def test_s2_a_huge_body_is_not_read_to_its_end():
    piece = bytes(2**20)
    async with receiver(head(), *[piece] * 256) as home:
        assert await post(home.url, guard("127.0.0.0/8")) == 200
        await home.requests[0].abandoned()
        assert home.requests[0].sent < 64 * 2**20


async def test_s2_a_body_that_says_it_is_compressed_is_not_unpacked():
    async with receiver(head(content_encoding="gzip") + b"no gzip at all") as home:
        assert await post(home.url, guard("127.0.0.0/8")) == 200


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
    ],
)
async def test_s2_what_is_no_answer(said: bytes):
    async with receiver(said) as home:
        with pytest.raises(Unreachable) as failed:
            await post(f"{home.url}/path?token=secret", guard("127.0.0.0/8"))
        assert "secret" not in str(failed.value)
        assert "path" not in str(failed.value)


async def test_a_host_is_looked_up_for_real():
    assert {"127.0.0.1", "::1"} & {*await lookup("localhost", 80)}
    with pytest.raises(OSError, match=r".+"):
        await lookup("no-such-host.invalid", 80)


async def test_a_look_up_may_be_left():
    task = asyncio.ensure_future(lookup("localhost", 80))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await lookup("127.0.0.1", 80) == ["127.0.0.1"]


def certificate(folder: Path, host: str) -> ssl.SSLContext:
    """A server's side of TLS, signed by itself; `certificate.pem` is what a client must trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    today = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - dt.timedelta(days=1))
        .not_valid_after(today + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    unsealed = serialization.NoEncryption()
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (folder / "certificate.pem").write_bytes(made.public_bytes(pem))
    (folder / "key.pem").write_bytes(key.private_bytes(pem, pkcs8, unsealed))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


@asynccontextmanager
async def tls_server(calls: list[str], host: str, port: int, tls: ssl.SSLContext) -> AsyncIterator[int]:
    """A receiver that notes its own address in `calls` for each request; its port."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        calls.append(host)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(connected, host, port, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
