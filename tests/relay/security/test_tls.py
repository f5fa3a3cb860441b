"""TLS of the relay's own port: certificates, what is demanded of clients, renewal, and clients that dawdle."""

from __future__ import annotations

import contextlib
import functools
import logging
import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import anyio
import httpx
import pytest

from tests.relay.common.test_watched_files import no_descriptor_left
from tests.relay.http.test_sse import fill, routes
from tests.relay.serving import listening
from tests.relay.test_accept import CONNECT, HANDSHAKE, READY, answer
from tests.support.certificates import Authority
from tests.support.client import client as talking
from tests.support.sse import reading
from tests.support.valkey import Valkey
from tests.support.waiting import eventually
from watcher.centrifuge import messages
from watcher.core.errors import SettingError
from watcher.core.settings import Settings
from watcher.relay.security.origins import origin_refusal
from watcher.relay.security.tls import Certificate
from watcher.relay.websocket.handshake import PATH

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """TLS is another program on each."""
    return "asyncio", {"use_uvloop": request.param}


def address(client: httpx.AsyncClient) -> tuple[str, int]:
    url = client.base_url
    return url.host, url.port or 0


def socket_url(client: httpx.AsyncClient) -> str:
    return f"wss://{client.base_url.host}:{client.base_url.port}{PATH}"


# What can be wrong with the files.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tls_cert": "nowhere.pem"}, ["WATCHER_TLS_CERT='nowhere.pem'", "No such file"]),
        ({"tls_cert": "KEY"}, ["WATCHER_TLS_CERT", "no PEM certificate"]),
        ({"tls_cert": "GARBAGE"}, ["WATCHER_TLS_KEY", "OpenSSL can't use it"]),
        ({"tls_key": "nowhere.key"}, ["WATCHER_TLS_KEY='nowhere.key'", "No such file"]),
        ({"tls_key": "OTHER"}, ["WATCHER_TLS_KEY", "the key does not belong to"]),
        ({"tls_key": "CERT"}, ["WATCHER_TLS_KEY", "no PEM private key"]),
        ({"tls_key": None}, ["WATCHER_TLS_CERT", "no PEM private key"]),
        ({"tls_key": "ENCRYPTED"}, ["WATCHER_TLS_KEY", "encrypted", "openssl pkey"]),
        ({"tls_client_ca": "KEY"}, ["WATCHER_TLS_CLIENT_CA", "no PEM certificate"]),
        ({"tls_client_ca": "GARBAGE"}, ["WATCHER_TLS_CLIENT_CA", "OpenSSL can't use it"]),
        ({"tls_cert": None}, ["WATCHER_TLS_KEY", "set WATCHER_TLS_CERT too"]),
    ],
)
def test_a_file_that_can_not_be_used_is_named_with_the_reason(
    authority: Authority, tmp_path: Path, changes: dict[str, str | None], words: list[str]
) -> None:
    files = {"CERT": authority.cert, "KEY": authority.key, "OTHER": authority.client_key}
    files |= {name: tmp_path / name for name in ("GARBAGE", "ENCRYPTED")}
    files["GARBAGE"].write_text("-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n")
    files["ENCRYPTED"].write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n-----END ENCRYPTED PRIVATE KEY-----\n")
    named = {"tls_cert": "CERT", "tls_key": "KEY", **changes}
    given = {name: str(files.get(file, file)) if file else None for name, file in named.items()}
    with pytest.raises(SettingError) as refused:
        Certificate.of(Settings(**given))  # type: ignore[arg-type]  # they are all of a kind
    assert "\n" not in str(refused.value)
    for word in words:
        assert word in str(refused.value)


def test_certificate_and_key_may_be_in_one_file(authority: Authority, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(authority.key.read_bytes() + authority.cert.read_bytes())
    assert Certificate.of(Settings(tls_cert=str(both))) is not None
    assert Certificate.of(Settings()) is None


# What is demanded of clients.


def test_nothing_old_is_spoken(authority: Authority) -> None:
    context = Certificate(authority.settings()).context
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    named = {cipher["name"] for cipher in context.get_ciphers()}
    assert named
    assert all(name.startswith(("TLS_", "ECDHE-")) and ("GCM" in name or "POLY1305" in name) for name in named), named


async def test_mutual_tls_admits_only_clients_with_a_valid_certificate(
    valkey: Valkey, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    settings = authority.settings(tls_client_ca=str(authority.ca))
    async with listening(valkey.url(), settings=settings) as (client, relay):
        async with httpx.AsyncClient(base_url=client.base_url, verify=authority.trusted(with_client=True)) as known_one:
            assert (await known_one.get("/api/tasks")).status_code == 200
        with pytest.raises(httpx.TransportError):
            await client.get("/api/tasks")
        stranger = Authority(authority.folder.parent)
        context = authority.trusted()
        context.load_cert_chain(stranger.client_cert, stranger.client_key)
        async with httpx.AsyncClient(base_url=client.base_url, verify=context) as other:
            with pytest.raises(httpx.TransportError):
                await other.get("/api/tasks")
        assert relay.counts.responses == {200: 1}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_page_by_http_is_not_the_relays_own() -> None:
    plain, secure = Settings(secret="s" * 32), Settings(secret="s" * 32, tls_cert="cert.pem")
    same = {"host": "relay.example", "origin": "http://relay.example"}
    assert origin_refusal(plain, **same) is None
    assert "WATCHER_ORIGINS=http://relay.example" in str(origin_refusal(secure, **same))
    assert origin_refusal(secure, host="relay.example", origin="https://relay.example") is None
    assert origin_refusal(secure, host="relay.example:5556", origin="https://relay.example:5556") is None


async def test_browsers_are_told_to_come_by_https_only(valkey: Valkey, authority: Authority) -> None:
    async with listening(valkey.url(), settings=authority.settings(hosts=("relay.example",))) as (client, _):
        told = (await client.get("/", headers={"Host": "relay.example"})).headers
        assert told["strict-transport-security"] == "max-age=31536000"
        # localhost has other ports, of other programs, which speak no TLS.
        assert "strict-transport-security" not in (await client.get("/", headers={"Host": "localhost:1"})).headers
    async with listening(valkey.url()) as (client, _):
        assert "strict-transport-security" not in (await client.get("/")).headers


async def test_what_comes_with_the_handshake_is_heard(valkey: Valkey, authority: Authority) -> None:
    """One record of TLS holds both: with the request before it, or without."""
    async with listening(valkey.url(), settings=authority.settings()) as (client, _):
        for before in (b"", READY):
            raw = await anyio.connect_tcp(
                *address(client), ssl_context=authority.trusted(), tls_standard_compatible=False
            )
            async with raw as stream:
                told = await answer(stream, before + HANDSHAKE + CONNECT, until=b'"connect":{"client":')
            assert told.count(b"HTTP/1.1 ") == 1 + bool(before)


# Clients that dawdle, and the end.


async def test_a_handshake_that_is_never_finished_ends_and_is_no_error(
    valkey: Valkey, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening(valkey.url(), settings=authority.settings(), handshake=0.5) as (client, relay):
        with contextlib.ExitStack() as opened:
            for said in (b"", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"):
                raw = opened.enter_context(socket.create_connection(address(client)))
                raw.sendall(said)
                raw.setblocking(False)
                with anyio.fail_after(20), contextlib.suppress(ConnectionResetError):
                    while True:
                        await anyio.wait_readable(raw)
                        if not raw.recv(1024):
                            break
            assert (await client.get("/healthz")).status_code == 200
        assert relay.counts.refused == {"tls-handshake": 1}
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert told == ["refused a TLS handshake to somebody: HTTP_REQUEST"]


async def test_whoever_shows_no_certificate_is_told_of_in_the_log(
    valkey: Valkey, authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    settings = authority.settings(tls_client_ca=str(authority.ca))
    async with listening(valkey.url(), settings=settings) as (client, relay):
        with pytest.raises(httpx.TransportError):
            await client.get("/healthz")
        await eventually(lambda: relay.counts.refused["tls-handshake"] == 1, what="it to be counted")
    assert "refused a TLS handshake to somebody: PEER_DID_NOT_RETURN_A_CERTIFICATE" in caplog.text


async def test_large_recoveries_come_whole(
    valkey: Valkey, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    async with listening(valkey.url(), settings=authority.settings()) as (client, relay):
        await fill(valkey, relay, 6000)
        async with talking(socket_url(client)) as speaking:
            told = await speaking.subscribe(recover=True, epoch="", offset=0)
            first = [each["offset"] for each in told["publications"]]
            await speaking.until(lambda: len(first) + len(speaking.publications()) == 6000, "all events", 20)
            assert first + [offset for offset, _ in speaking.publications()] == list(range(1, 6001))


async def test_a_relay_that_stops_says_so_at_once(
    valkey: Valkey, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
    async with (
        listening(valkey.url(), settings=authority.settings()) as (client, relay),
        talking(socket_url(client)) as speaking,
        reading(client, "tasks") as reader,
    ):
        start = anyio.current_time()
        await relay.drain()
        assert await reader.end() == []
        await speaking.until(lambda: speaking.closed, "the end")
        assert speaking.closed == (messages.SHUTDOWN.code, messages.SHUTDOWN.reason)
        assert anyio.current_time() - start < 2, "TLS has no half-closed connection to wait for"


def asking(authority: Authority, client: httpx.AsyncClient, path: str) -> ssl.SSLSocket:
    """A connection that has asked; few bytes of the answer fit into its buffer."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect(address(client))
    raw.setblocking(False)
    return authority.trusted().wrap_socket(raw, server_hostname="127.0.0.1", do_handshake_on_connect=False)


async def ready(wrapped: ssl.SSLSocket, step: Callable[[], bytes | None]) -> bytes | None:
    """Do one step of a connection that never blocks."""
    while True:
        try:
            return step()
        except ssl.SSLWantReadError:
            await anyio.wait_readable(wrapped)


async def test_stalled_tls_reader_is_dropped_but_a_slow_one_is_kept(valkey: Valkey, authority: Authority) -> None:
    impatient = functools.partial(routes, stalled=2)
    path = "/api/events?channel=tasks"
    async with listening(valkey.url(), settings=authority.settings(), routes=impatient) as (client, relay):
        with asking(authority, client, path) as mute, asking(authority, client, path) as slow:
            for each in (mute, slow):
                await ready(each, each.do_handshake)
                each.send(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            await eventually(lambda: relay.counts.streams == 2, what="the streams")
            await fill(valkey, relay, 10_000)
            await eventually(lambda: relay.counts.streams_behind == 2, what="both to be behind")
            with anyio.fail_after(30):
                while relay.counts.streams == 2:
                    assert await ready(slow, lambda: slow.recv(2048))
                    await anyio.sleep(0.02)
            assert relay.counts.streams_behind == 1
            assert await ready(slow, lambda: slow.recv(1)), "who still reads is never dropped"


# Renewal.


async def test_a_renewed_certificate_is_taken_once_it_is_whole(authority: Authority, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(authority.cert, cert)
    shutil.copy(authority.key, key)
    made = Certificate(Settings(tls_cert=str(cert), tls_key=str(key)), look=0.01)

    def serial() -> str:
        """Of the certificate that a new handshake shows."""
        asked, answered = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = authority.trusted().wrap_bio(answered, asked, server_hostname="localhost")
        server = made.context.wrap_bio(asked, answered, server_side=True)
        for side in (client, server, client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
        return str((client.getpeercert() or {})["serialNumber"])

    first = serial()
    async with anyio.create_task_group() as group:
        group.start_soon(made.follow)
        new_cert, new_key = authority.issue("renewed", "127.0.0.1", "localhost")
        # Half-way: the certificate is the new one, the key still the old one.
        shutil.copy(new_cert, tmp_path / "moving")
        (tmp_path / "moving").replace(cert)
        await eventually(lambda: made.followed.stale, what="it to have looked")
        assert serial() == first, "what doesn't fit together is not taken"
        shutil.copy(new_key, tmp_path / "moving")
        (tmp_path / "moving").replace(key)
        await eventually(lambda: serial() != first, what="the new certificate")
        second = serial()
        newer = [shutil.copy(file, tmp_path / file.name) for file in authority.issue("newer", "127.0.0.1", "localhost")]
        with no_descriptor_left():
            for file, name in zip(newer, (cert, key), strict=True):
                shutil.move(file, name)
            await eventually(lambda: made.followed.stale, what="it to have tried")
        assert serial() == second
        await eventually(lambda: serial() not in (first, second), what="the certificate after that")
        group.cancel_scope.cancel()
