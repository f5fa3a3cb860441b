"""What `import watcher` offers, and what it costs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import entry_points

import pytest

import watcher.client
import watcher.direct
from tests.support.processes import ROOT
from watcher import errors


def test_public_names_are_exactly_these() -> None:
    assert set(watcher.__all__) == {
        "TaskFailed", "TaskRevoked", "__version__", "connect", "connect_sync", "install", "results", "tags", "token",
    }  # fmt: skip
    assert all(getattr(watcher, name) is not None for name in watcher.__all__)
    assert set(watcher.__all__) <= set(dir(watcher))


def test_every_public_exception_is_at_hand_in_one_place() -> None:
    for package in (watcher.client, watcher.direct):
        exceptions = [each for each in vars(package).values() if isinstance(each, type) and issubclass(each, Exception)]
        assert exceptions
        for each in exceptions:
            assert getattr(errors, each.__name__) is each
            assert each.__name__ in errors.__all__
    assert all(issubclass(getattr(errors, name), errors.WatcherError) for name in errors.__all__)
    assert set(errors.__all__) <= set(dir(errors))
    with pytest.raises(AttributeError, match="no attribute 'nothing_of_the_kind'"):
        _ = errors.nothing_of_the_kind


def test_unknown_name_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing_of_the_kind'"):
        _ = watcher.nothing_of_the_kind


def test_importing_it_brings_none_of_its_dependencies() -> None:
    heavy = {"anyio", "celery", "click", "httptools", "jwt", "msgspec", "redis", "starlette", "uvicorn", "websockets"}
    script = "import sys, watcher, watcher.errors; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert heavy.isdisjoint(loaded.stdout.split())


@pytest.mark.parametrize("module", ["watcher.worker", "watcher.cli.celery", "watcher.dev.ready"])
def test_what_a_worker_imports_brings_nothing_of_the_relay(module: str) -> None:
    script = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert {"uvicorn", "starlette", "websockets", "httptools"}.isdisjoint(loaded.stdout.split())


def test_a_celery_command_imports_nothing_of_ours_but_its_name() -> None:
    script = "import sys, celery.bin.celery; print(*[name for name in sys.modules if name.startswith('watcher')])"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    streams = {"watcher.cli.terminal", "watcher.cli.terminal.streams"}  # the package's own: they are put in order first
    assert {*loaded.stdout.split()} <= {
        "watcher",
        "watcher.core",
        "watcher.core.lazy",
        "watcher.cli",
        "watcher.cli.celery",
        *streams,
    }


def test_the_client_brings_neither_celery_nor_the_relay() -> None:
    script = "import sys, watcher; watcher.connect; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    names = loaded.stdout.split()
    assert {"celery", "redis", "starlette", "uvicorn", "watcher.relay", "watcher.worker"}.isdisjoint(names)


def test_it_is_typed() -> None:
    assert (ROOT / "watcher" / "py.typed").exists()


def test_version_is_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" in project["dynamic"]
    assert f"[{watcher.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_commands_are_where_the_installed_distribution_says() -> None:
    scripts = {point.name: point for point in entry_points(group="console_scripts")}
    commands = {point.name: point for point in entry_points(group="celery.commands")}
    assert callable(scripts["watcher"].load())
    assert commands["watcher"].load().name == "watcher"
