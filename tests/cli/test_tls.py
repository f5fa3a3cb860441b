"""`watcher serve` with a certificate, and the clients that meet it there."""

from __future__ import annotations

import shutil
import signal
import socket
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_socket

import watcher
from tests.cli.calls import WATCHER, run
from tests.support.certificates import Authority
from tests.support.processes import Relay, program, relay, worker
from tests.support.waiting import wait_for


def serial(authority: Authority, serving: Relay) -> str:
    """Of the certificate that the relay shows."""
    port = int(serving.url.rpartition(":")[2])
    with (
        socket.create_connection(("127.0.0.1", port)) as raw,
        authority.trusted().wrap_socket(raw, server_hostname="127.0.0.1") as wrapped,
    ):
        return str((wrapped.getpeercert() or {})["serialNumber"])


def answer(opened: ClientConnection) -> str:
    """What the relay says next, pings left aside."""
    while (said := str(opened.recv(5))) == "{}":
        pass
    return said


def test_commands_submit_and_watch_over_tls(tasks_env: dict[str, str], authority: Authority) -> None:
    with worker(env=tasks_env), relay(env={**tasks_env, **authority.environment()}) as serving:
        assert serving.url.startswith("https://127.0.0.1:")
        for url in (serving.url, serving.ws_url):
            done = run("submit", "tasks.add", "2", "3", "--url", url, "--ca", str(authority.ca))
            assert (done.code, done.out.strip()) == (0, "5"), done.err
        assert run("submit", "tasks.add", "2", "3", "--url", serving.url, WATCHER_CA=str(authority.ca)).code == 0
        assert run("submit", "tasks.add", "2", "3", "--url", serving.url, SSL_CERT_FILE=str(authority.ca)).code == 0
        stranger = run("submit", "tasks.add", "2", "3", "--url", serving.url)
        assert stranger.code == 3
        assert "its certificate is not trusted" in stranger.err
        assert "WATCHER_CA" in stranger.err
        assert "Traceback" not in serving.output


def test_up_speaks_tls_and_prints_so(tasks_env: dict[str, str], authority: Authority) -> None:
    options = ("--tls-cert", str(authority.cert), "--tls-key", str(authority.key), "--port", "0")
    with program(*WATCHER, "up", "-A", "tasks", *options, env=tasks_env) as running:
        url = running.wait_for_output(r"https://127\.0\.0\.1:\d+/", timeout=60).group()
        assert running.stdout == f"{url}\n"
        for given in (("--ca", str(authority.ca)), ()):
            variables = {} if given else {"WATCHER_CA": str(authority.ca)}
            done = run("submit", "tasks.add", "2", "3", *given, url=url, **variables)
            assert (done.code, done.out.strip()) == (0, "5"), done.err
        blind = run("submit", "tasks.add", "2", "3", url=url.replace("https", "http"))
        assert blind.code == 3
        assert len(blind.err.strip().splitlines()) == 1, blind.err
        assert running.stop(15) == 0, running.output
        assert "Traceback" not in running.output


def test_a_client_shows_the_certificate_that_is_demanded(redis_url: str, authority: Authority) -> None:
    demanding = {**authority.environment(), "WATCHER_TLS_CLIENT_CA": str(authority.ca), "WATCHER_REDIS_URL": redis_url}
    shown = ("--cert", str(authority.client_cert), "--key", str(authority.client_key))
    with relay(None, env=demanding, tls=authority.trusted(with_client=True)) as serving:
        asked = ("watch", "task:none", "--url", serving.url, "--ca", str(authority.ca))
        assert run(*asked, *shown, "--timeout", "0.5").code == 124
        without = run(*asked, "--timeout", "10")
        assert without.code == 3, without.err
        assert "WATCHER_CLIENT_CERT" in without.err
        with watcher.connect_sync(serving.url, ssl=authority.trusted(with_client=True)) as client:
            assert client.get("none") is None
        assert "Traceback" not in serving.output


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--ca", "/nowhere.pem", ["WATCHER_CA='/nowhere.pem'", "No such file"]),
        ("--cert", "/nowhere.pem", ["WATCHER_CLIENT_CERT", "No such file"]),
        ("--key", "/nowhere.pem", ["WATCHER_CLIENT_KEY", "WATCHER_CLIENT_CERT"]),
    ],
)
def test_a_file_that_a_client_can_not_use_is_named(option: str, value: str, words: list[str]) -> None:
    wrong = run("watch", "--url", "https://127.0.0.1:1", option, value)
    assert wrong.code == 2
    assert len(wrong.err.strip().splitlines()) == 1
    for word in words:
        assert word in wrong.err


def test_a_wrong_certificate_ends_the_start_in_one_line(redis_url: str, authority: Authority) -> None:
    wrong = run("serve", "--tls-cert", str(authority.cert), "--tls-key", str(authority.client_key), "--port", "0",
                WATCHER_REDIS_URL=redis_url)  # fmt: skip
    assert wrong.code == 2
    assert len(wrong.err.strip().splitlines()) == 1
    assert "WATCHER_TLS_KEY" in wrong.err
    assert "the key does not belong to" in wrong.err


def test_certificate_renewal_keeps_open_connections(redis_url: str, authority: Authority, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(authority.cert, cert)
    shutil.copy(authority.key, key)
    env = {"WATCHER_REDIS_URL": redis_url, "WATCHER_TLS_CERT": str(cert), "WATCHER_TLS_KEY": str(key)}
    with relay(None, env=env) as serving:
        first = serial(authority, serving)
        with connect_socket(serving.ws_url, ssl=authority.trusted()) as opened:
            opened.send('{"id":1,"connect":{}}')
            assert '"id":1' in answer(opened)
            for new, old in zip(authority.issue("later", "127.0.0.1"), (cert, key), strict=True):
                shutil.copy(new, tmp_path / "moving")
                (tmp_path / "moving").replace(old)
            wait_for(lambda: serial(authority, serving) != first, what="the new certificate")
            opened.send('{"id":2,"rpc":{"method":"get","data":{"id":"none"}}}')
            assert '"task":null' in answer(opened)
            serving.signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed, match="3001"):
                answer(opened)
        assert serving.wait(20) == 0
        assert "Traceback" not in serving.output
        assert "reloaded the TLS certificate" in serving.stderr
