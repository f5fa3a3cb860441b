"""What a run needs: Celery's own tests as its sdist has them, and an environment in which they run."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

from tests.support.processes import ROOT

__all__ = ["Unavailable", "environment_python", "suite"]

VERSION = "5.7.0"
#: Nothing in here is committed; `make clean` takes it away with the rest of `.venv`.
CACHE = ROOT / ".venv" / "celery-suite"

#: What t/integration imports, of the sdist's requirements/test.txt, and the parts of celery[redis] that it needs. Not
#: pytest-celery: its name brings Docker, and what t/integration uses is Celery's own plugin (celery/contrib/pytest.py).
PACKAGES = (
    f"celery[redis]=={VERSION}", "pytest==9.1.1", "pytest-rerunfailures==16.7", "pytest-timeout==2.4.0",
    "pytest-subtests==0.15.0", "pytest-order==1.5.0", "pydantic>=2.12.4", "tblib",
)  # fmt: skip


class Unavailable(Exception):
    """The suite can't be had on this machine; the message says why."""


def suite() -> Path:
    """The directory of the sdist, from the package index unless it is there.

    :raises Unavailable: the index doesn't have it, or can't be reached.
    """
    name = f"celery-{VERSION}"
    if not (CACHE / name / "t").is_dir():
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", str(CACHE)]
        _run([*pip, "--no-binary", "celery", "--no-deps", f"celery=={VERSION}"])
        with tarfile.open(CACHE / f"{name}.tar.gz") as archive:
            # Without the package itself: what is tested is the one that is installed.
            wanted = (f"{name}/t/", f"{name}/pyproject.toml")
            members = [each for each in archive.getmembers() if each.name.startswith(wanted)]
            archive.extractall(CACHE, members=members, filter="data")
    return CACHE / name


def environment_python() -> str:
    """Interpreter of the environment that has the suite's dependencies, and this project as it stands.

    :raises Unavailable: they can't be installed.
    """
    python, mark = CACHE / "env" / "bin" / "python", CACHE / "installed"
    wanted = " ".join(PACKAGES)
    if not mark.exists() or mark.read_text() != wanted:
        CACHE.mkdir(exist_ok=True, parents=True)
        _run([sys.executable, "-m", "venv", str(CACHE / "env")])
        _run(
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES, "-e", str(ROOT)]
        )
        mark.write_text(wanted)
    return str(python)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Unavailable(f"{' '.join(command[1:4])} failed: {said[-1] if said else done.returncode}")
