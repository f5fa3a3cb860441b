"""`make audit` says whether holes are known, or that nothing was learned; each with an exit code of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from tests.documents.shown import blocks
from tests.support.processes import ROOT


@pytest.mark.parametrize(
    ("says", "code", "told"),
    [
        ("echo 'No known vulnerabilities found' >&2", 0, "nothing is known against the locked versions"),
        ("echo 'starlette 1.0 GHSA-x 2.0'; exit 1", 1, "holes are known"),
        ("echo Traceback >&2; echo 'ConnectionError: refused' >&2; exit 1", 2, "refused\naudit: nothing was learned"),
        ("exit 127", 2, "nothing was learned"),
    ],
)
def test_what_pip_audit_found_is_told(tmp_path: Path, says: str, code: int, told: str) -> None:
    standing_in = tmp_path / "pip-audit"
    standing_in.write_text(f"#!/bin/sh\necho \"$@\" > '{tmp_path}/asked'\n{says}\n")
    standing_in.chmod(0o700)
    command = ["sh", "scripts/audit.sh", str(standing_in), "-s", "osv"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, told in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert ("GHSA-x" in done.stdout) == (code == 1)
    asked = (tmp_path / "asked").read_text().split()
    assert asked[-2:] == ["-s", "osv"]
    assert {each for each in asked if each.endswith(".txt")} == {
        str(path.relative_to(ROOT)) for path in (ROOT / "requirements").glob("*.txt")
    }


def test_the_example_of_continuous_integration_runs_what_there_is() -> None:
    (example,) = (each.text for each in blocks("CONTRIBUTING.md") if each.language == "yaml")
    jobs = yaml.safe_load(example)["jobs"]
    commands = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in jobs.items()}
    assert commands == {"test": ["bash .ci/run"], "audit": ["make audit"], "newest": ["make newest"]}
    assert (ROOT / ".ci" / "run").exists()
