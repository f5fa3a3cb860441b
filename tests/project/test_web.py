"""What the page's files must not have: ways to make markup of a text, and other hosts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.processes import ROOT

WEB = ROOT / "web"
#: Whatever makes markup or code of a text.
_MAKERS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|DOMParser|parseFromString|setHTML"
    r"|srcdoc|\beval\b|\bFunction\(|import\([^\"']|set(?:Timeout|Interval)\(\s*[\"'`]|javascript:|execCommand"
)
#: Where an address is put into an element …
_ADDRESSES = re.compile(r"\b(?:href|src|action|formAction|xlink:href)\b\s*[=:,\"'(].*")
#: … all of them: icons by our own names, and the results of tasks, below the relay's own address.
_KNOWN = {
    'href", `#${name}`);',
    'href", `#state-${name}`);',
    "href: resultAddress(id),",
    "href = URL.createObjectURL(await response.blob());",
    'href", `#icon-theme-${theme}`);',
}
#: Names of namespaces (SVG), which nobody asks for.
_NAMESPACE = "http://www.w3.org/2000/svg"


def _lines(*suffixes: str) -> Iterator[tuple[Path, str]]:
    for path in sorted(WEB.rglob("*")):
        if path.suffix in suffixes:
            for line in path.read_text().splitlines():
                yield path, line


def test_nothing_makes_markup_or_code_of_a_text() -> None:
    assert [
        (path.name, found[0]) for path, line in _lines(".js", ".html", ".svg") if (found := _MAKERS.search(line))
    ] == []


def test_addresses_are_our_own() -> None:
    scripts = [(path, line) for path, line in _lines(".js") if path.name != "watcher.js" or path.parent != WEB]
    found = {match[0] for _, line in scripts if (match := _ADDRESSES.search(line))}
    assert found == _KNOWN
    made = (WEB / "watcher.js").read_text()  # of module/, which has none
    assert not re.search(r"\.href|\.src\b|setAttribute\(\"(href|src)", made)


def test_no_other_host_is_named() -> None:
    named = [
        (path.name, found)
        for path, line in _lines(".js", ".html", ".css", ".svg")
        if not line.lstrip().startswith(("*", "//", "/*"))
        for found in re.findall(r"(?:https?:|wss?:)?//[a-zA-Z0-9][\w.-]*\.\w[^\s\"'`]*", line)
        if not found.startswith(_NAMESPACE)
    ]
    assert named == []
    assert [line for _, line in _lines(".css") if re.search(r"@import|url\((?!['\"]?(?:data:|#))", line)] == []


def test_the_page_has_no_script_style_or_handler_in_it() -> None:
    text = (WEB / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+\s*=|<base|<iframe|<object|<embed", text)
    assert re.findall(r"<script[^>]*>", text) == re.findall(r"<script[^>]* src=\"[\w./]+\">", text)
    assert re.findall(r"<script[^>]*>([^<]+)</script>", text) == []
    assert re.findall(r"(?:href|src)=\"([^\"]*)\"", text) == re.findall(r"(?:href|src)=\"([\w./#-]+)\"", text)
