"""`make lint` holds which folder may import which; a breach is seen, and named."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT


@pytest.mark.parametrize(
    ("file", "line", "contract"),
    [
        ("relay/stream/hub.py", "import asyncio", "What decides does no I/O"),
        ("relay/stream/feed.py", "from watcher.relay.websocket import session", "In the relay, too"),
        ("journal/reader.py", "from watcher.rendering import values", "Folders import downwards"),
        ("worker/__init__.py", "import anyio", "A worker loads nothing of the relay"),
    ],
)
def test_a_breach_is_seen(tmp_path: Path, file: str, line: str, contract: str) -> None:
    for name in ("watcher", "tasks", "pyproject.toml"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, tmp_path / name)
    breached = tmp_path / "watcher" / file
    breached.write_text(breached.read_text().replace("import annotations\n", f"import annotations\n\n{line}\n", 1))
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 1, told.stdout + told.stderr
    assert [line for line in told.stdout.splitlines() if line.startswith(contract) and "BROKEN" in line], told.stdout
