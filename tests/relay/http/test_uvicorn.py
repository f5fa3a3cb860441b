"""What is used of uvicorn behind its documented names: what a release lacks is told by name."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
import uvicorn.server

from tests.support.certificates import Authority
from watcher.relay.http import _uvicorn
from watcher.relay.security.tls import Certificate


async def application(scope: Any, receive: Any, send: Any) -> None: ...


def config() -> uvicorn.Config:
    make: Any = functools.partial(SimpleNamespace)
    made = _uvicorn.config(application, websocket=make, http=make, root_path="/here", idle_timeout=5)
    made.load()
    return made


@pytest.mark.parametrize(("kind", "member"), _uvicorn.MEMBERS)
def test_uvicorn_has(kind: str, member: str) -> None:
    made: Any = {
        "Config": config, "Server": lambda: uvicorn.Server(config()), "ServerState": uvicorn.server.ServerState
    }[kind]()  # fmt: skip
    assert hasattr(made, member), f"uvicorn's {kind} has no {member}"


def test_uvicorn_starts_listening_and_captures_signals_by_what_is_replaced() -> None:
    served = inspect.getsource(uvicorn.Server)
    assert "self.startup(sockets=sockets)" in served
    assert "with self.capture_signals()" in served
    assert "connection.shutdown()" in served


def test_uvicorn_takes_factories_and_hands_the_application_on_as_it_is() -> None:
    made = config()
    assert made.loaded_app is application
    assert isinstance(made.http_protocol_class, functools.partial)
    assert isinstance(made.ws_protocol_class, functools.partial)


def test_where_uvicorn_would_listen_without_tls_a_relay_that_speaks_it_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = Certificate.of(Authority(tmp_path).settings())
    assert _uvicorn.Server(config(), certificate) is not None
    monkeypatch.delattr(uvicorn.Server, "startup")
    with pytest.raises(RuntimeError, match=r"has no Server\.startup, by which TLS is served"):
        _uvicorn.Server(config(), certificate)
    assert _uvicorn.Server(config()) is not None
