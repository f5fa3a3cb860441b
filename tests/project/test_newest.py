"""`make newest`: what is installed, what is said of it, and how it ends."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import ROOT

#: Stands in for the environment's interpreter: it says what it was called with, and does what each test wants.
STANDS_IN = """#!/bin/sh
echo "$@" >> '{log}'
case "$*" in
    *"pip install"*) exit {installs} ;;
    *"pip list"*) printf '%s\\n' {lists} ;;
    *chromium*) echo /usr/bin/some-browser ;;
    *"-m pytest"*) exit {tests} ;;
esac
"""


def locked() -> list[str]:
    """The first of the locked versions."""
    return re.findall(r"^([a-z0-9-]+==[^ ;]+)", (ROOT / "requirements" / "dev.txt").read_text(), re.MULTILINE)[:2]


def newest(tmp_path: Path, *, installs: int = 0, lists: str = "", tests: int = 0) -> tuple[int, str, list[str]]:
    """Its exit code, what it says, and what it has run."""
    python, log = tmp_path / "newest" / "bin" / "python", tmp_path / "log"
    python.parent.mkdir(parents=True)
    python.write_text(STANDS_IN.format(log=log, installs=installs, lists=lists, tests=tests))
    python.chmod(0o700)
    command = ["sh", "scripts/newest.sh", "/nonexistent/python", str(tmp_path / "newest"), "-n", "3", "tests/worker"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    return done.returncode, done.stderr, log.read_text().splitlines()


def test_newest_says_what_is_not_as_locked_and_ends_as_the_tests_do(tmp_path: Path) -> None:
    lists = " ".join((*locked(), "Some_Package==9.0rc1"))
    code, said, ran = newest(tmp_path, lists=lists, tests=1)
    assert code == 1
    assert "some-package==9.0rc1" in said
    assert not [each for each in locked() if each in said]
    assert ran[-1] == "-m pytest -n 3 tests/worker"
    assert all(word in ran[0] for word in ("--pre", "--upgrade", "eager"))


@pytest.mark.parametrize(("installs", "code"), [(0, 0), (1, 9)])
def test_newest_tests_nothing_that_could_not_be_installed(tmp_path: Path, installs: int, code: int) -> None:
    ended, said, ran = newest(tmp_path, installs=installs, lists=" ".join(locked()))
    assert ended == code
    assert ("the newest are locked" in said) == (code == 0)
    assert any("-m pytest" in each for each in ran) == (code == 0)
