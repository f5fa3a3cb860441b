"""A hook of mkdocs: what the pages of docs/ link to elsewhere in the project becomes a part of the site.

A Markdown file (SECURITY.md, examples/README.md) becomes a page below `project/`, any other file is copied there.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File, Files, InclusionLevel

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS, ELSEWHERE = "docs", "project"
ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):(?=<code>)")  # of a docstring in reStructuredText
LINK = re.compile(r"(\]\()([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add what is linked to, and what that links to."""
    seen, waiting = set[str](), [f"{DOCS}/{file.src_uri}" for file in files.documentation_pages()]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if not name.startswith(f"{DOCS}/"):
            path = str(ROOT / name)
            added = File.generated(config, f"{ELSEWHERE}/{name}", abs_src_path=path)
            added.inclusion = InclusionLevel.NOT_IN_NAV
            files.append(added)
        if name.endswith(".md"):
            targets = (resolved(name, link[1]) for link in LINK.findall((ROOT / name).read_text(encoding="utf-8")))
            waiting += [target for target in targets if (ROOT / target).is_file()]
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links that are right in the project into those that are right on the site."""
    here = page.file.src_uri
    name = here.removeprefix(f"{ELSEWHERE}/") if here.startswith(f"{ELSEWHERE}/") else f"{DOCS}/{here}"

    def on_site(link: re.Match[str]) -> str:
        target = resolved(name, link[2])
        if "://" in link[2] or not (ROOT / target).is_file():
            return link[0]
        there = target.removeprefix(f"{DOCS}/") if target.startswith(f"{DOCS}/") else f"{ELSEWHERE}/{target}"
        return link[1] + posixpath.relpath(there, posixpath.dirname(here) or ".")

    return LINK.sub(on_site, markdown)


def on_page_content(html: str, **_: object) -> str:
    """Docstrings name things by roles, which Markdown doesn't know."""
    return ROLE.sub("", html)


def resolved(name: str, link: str) -> str:
    """What a link in a file of the project leads to, from the project's root on."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), link))
