"""What the documents list is all there is; tests/documents/ runs what they show."""

from __future__ import annotations

import ast
import re

from tests.documents.shown import documents
from tests.support.processes import ROOT
from watcher.core.settings import SETTINGS

FINDINGS = ROOT / "findings" / "README.md"


def test_links_lead_somewhere() -> None:
    for document in [*documents(), FINDINGS]:
        text = document.read_text()
        for target in re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"", text):
            address, _, anchor = "".join(target).partition("#")
            if "://" in address:
                continue
            file = (document.parent / address) if address else document
            assert file.exists(), f"{document.name}: {address}"
            if anchor:
                headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
                slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
                assert anchor in slugs, f"{document.name}: #{anchor}"


def test_every_finding_is_listed() -> None:
    listed = FINDINGS.read_text()
    for script in FINDINGS.parent.glob("*.sh"):
        assert f"- [{script.name}]({script.name}): " in listed


def test_every_setting_is_documented() -> None:
    table = (ROOT / "docs" / "operating.md").read_text()
    for setting in SETTINGS:
        assert f"| `{setting.variable}` |" in table, setting.variable


def test_every_module_is_named_in_the_architecture_by_its_folder() -> None:
    rows = (ROOT / "docs" / "architecture.md").read_text().splitlines()
    folders = {row.split("`")[1]: row for row in rows if row.startswith("| `")}
    for path in (ROOT / "watcher").rglob("*.py"):
        folder = path.parent.relative_to(ROOT / "watcher").as_posix()
        if path.stem.startswith("__") or folder in (".", "core/redact"):
            continue
        assert f"`{path.stem}`" in folders[f"{folder}/"], f"{path.relative_to(ROOT)} is not in docs/architecture.md"
        assert (ast.get_docstring(ast.parse(path.read_text())) or "").strip(), f"{path} doesn't say what it is for"
