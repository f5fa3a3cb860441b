"""The public names have the types that people's checkers see: a file that uses them all passes mypy and pyright."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import watcher
import watcher.client
import watcher.direct
from tests.support.processes import ROOT
from watcher.client import Snapshot, Submitter, SyncRelay, SyncTask, Task, TaskEvent

FILE = ROOT / "tests" / "typing" / "public_api.py"


def checked(*command: str, cwd: Path) -> str:
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False, cwd=cwd).stdout


@pytest.fixture
def wrong(tmp_path: Path) -> Path:
    """A file whose one mistake only a checker that knows the types can see."""
    file = tmp_path / "wrong.py"
    file.write_text(
        "import watcher\n\n\nasync def main() -> None:\n"
        '    async with watcher.results("redis://") as results:\n        await results.wait(5)\n'
    )
    return file


def test_mypy_is_content(wrong: Path) -> None:
    told = checked("mypy", "--strict", str(FILE), str(wrong), cwd=ROOT)  # with the cache that `make lint` leaves
    errors = [line for line in told.splitlines() if ": error: " in line]
    assert [Path(line.partition(":")[0]).name for line in errors] == ["wrong.py"], told
    assert "in 1 file (checked 2 source files)" in told


def test_pyright_is_content(tmp_path: Path, wrong: Path) -> None:
    settings = {"typeCheckingMode": "strict", "include": [str(FILE), str(wrong)]}  # pyright's own strict rules
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    told = checked("basedpyright", "--outputjson", "--pythonpath", sys.executable, "-p", str(tmp_path), cwd=tmp_path)
    found = json.loads(told)
    assert found["summary"]["filesAnalyzed"] == 2, told
    assert {Path(each["file"]).name for each in found["generalDiagnostics"]} == {"wrong.py"}, told


def test_the_file_uses_every_public_name() -> None:
    tree = ast.parse(FILE.read_text())
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert set(watcher.__all__) <= used
    assert set(watcher.direct.__all__) - {"results"} <= imported
    assert set(watcher.client.__all__) <= imported | used
    methods = {name for name in dir(watcher.direct.Results) if not name.startswith("_")} - {"close"}
    assert methods <= used
    for kind in (
        SyncRelay,
        SyncTask,
        Task,
        Snapshot,
        TaskEvent,
        Submitter,
        watcher.direct.Outcome,
        watcher.direct.Events,
    ):
        assert {name for name in dir(kind) if not name.startswith("_")} <= used, kind
