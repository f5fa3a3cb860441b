"""What the documents list is all there is; tests/documents/ runs what they show."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import yaml

import watcher.client
import watcher.direct
from tests.documents.shown import blocks, documents
from tests.support.processes import ROOT
from watcher.core.settings import SETTINGS

DOCS = ROOT / "docs"
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


class _Config(yaml.SafeLoader):
    """Reads mkdocs.yml without the objects of Python that it names."""


_Config.add_multi_constructor("tag:yaml.org,2002:python/", lambda *_: None)


def listed(nav: list[object]) -> list[str]:
    """The pages of a navigation, in order."""
    found: list[str] = []
    for entry in nav:
        (target,) = entry.values() if isinstance(entry, dict) else (entry,)
        found += listed(target) if isinstance(target, list) else [str(target)]
    return found


def test_the_site_lists_every_page_once_and_is_strict() -> None:
    config = yaml.load((ROOT / "mkdocs.yml").read_text(), _Config)
    pages = listed(config["nav"])
    assert sorted(pages) == sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
    assert pages[0] == "index.md"
    assert config["strict"] is True
    assert set(config["validation"].values()) == {"warn"}
    assert "search" in config["plugins"]
    assert "--strict" in (ROOT / "scripts" / "docs.sh").read_text()


def test_a_drawing_has_no_semicolon() -> None:
    """It ends a statement of mermaid's, which then draws an error in place of all of it."""
    drawings = [block.text for path in DOCS.glob("*.md") for block in blocks(f"docs/{path.name}")]
    drawings = [text for text in drawings if text.startswith(("sequenceDiagram", "flowchart"))]
    assert len(drawings) >= 5
    assert not [text for text in drawings if ";" in text]


def test_agents_are_told_of_every_page() -> None:
    told = re.findall(r"^- \[.+\]\((\w+\.md)\): \S", (DOCS / "llms.txt").read_text(), re.MULTILINE)
    assert sorted(told) == sorted(path.name for path in DOCS.glob("*.md"))
    text = (DOCS / "llms.txt").read_text()
    names = set(re.findall(r"\bwatcher\.(\w+)(?:\(|`)", text)) - {"client", "js"}
    assert len(names) > 5
    assert names <= set(watcher.__all__)


def test_the_reference_has_every_public_name_once() -> None:
    entries = re.findall(r"^::: ([\w.]+)$", (DOCS / "reference.md").read_text(), re.MULTILINE)
    names = {*watcher.__all__, *watcher.client.__all__, *watcher.direct.__all__} - {"__version__"}
    assert sorted(entry.rpartition(".")[2] for entry in entries) == sorted(names)
    for entry in entries:
        module, _, name = entry.rpartition(".")
        assert hasattr(sys.modules[module], name)


def test_files_that_the_documents_name_are_there() -> None:
    """By their names or their paths, from the root or any folder on."""
    paths = [f"/{path.relative_to(ROOT).as_posix()}" for path in source_files()]
    for document in documents():
        if document.name == "CHANGELOG.md":  # of what was
            continue
        for name in re.findall(r"`([\w./-]+\.(?:py|lua|js|c))`", document.read_text()):
            if name.startswith(("/", "proj/")):  # an address, or a project of the reader's
                continue
            assert any(path.endswith(f"/{name.removeprefix('./')}") for path in paths), f"{document.name}: {name}"


def source_files() -> list[Path]:
    """Those of the folders with code."""
    folders = ("bench", "examples", "findings", "scripts", "tasks", "tests", "watcher", "web")
    return [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
