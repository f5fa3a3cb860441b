"""What the page's files must not have: ways to make markup of a text, other hosts, and imports upwards."""

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
#: … all of them: icons by our own names, places of the page itself (all of which begin with `#`), and the results of
#: tasks, below the relay's own address.
_KNOWN = {
    'href", `#${name}`);',
    'href", `#state-${name}`);',
    "href: resultAddress(id),",
    "href = URL.createObjectURL(await response.blob());",
    'href", `#icon-theme-${theme}`);',
    'href", this.#address(format));',
    'href") !== (addressOf(place) || "#tasks")) Object.assign(link, placeHref(place));',
    'href: addressOf(place) || "#tasks" };',
    'href") ?? "";',
    'href");',
    'href") !== icon) this.#icon.setAttribute("href", icon);',
}
#: Folders and files of web/, from the lowest: each imports only what is below it, or beside it in the same folder.
_LAYERS = ("embed", "model", "requests.js", "watcher.js", "views", "control", "main.js")
#: Of a browser, what model/ does without: it is given what it needs.
_BROWSER = re.compile(r"\b(?:document|window|navigator|location|fetch|WebSocket|\w+Storage|set(?:Timeout|Interval))\b")
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
    made = (WEB / "watcher.js").read_text()  # of embed/, which has none
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


def _layer(path: Path) -> int:
    return _LAYERS.index(path.relative_to(WEB).parts[0])


def test_imports_go_downwards() -> None:
    imports = [
        (path, (path.parent / imported[1]).resolve())
        for path, line in _lines(".js")
        if (imported := re.match(r"import .* from \"(\..*)\";", line))
    ]
    assert imports
    upwards = [
        f"{path.relative_to(WEB)} imports {target.relative_to(WEB)}"
        for path, target in imports
        if _layer(target) > _layer(path)
    ]
    assert upwards == []


def test_the_model_needs_no_browser() -> None:
    code = [
        (path.name, line)
        for path, line in _lines(".js")
        if path.parent == WEB / "model" and not line.lstrip().startswith(("*", "//", "/*"))
    ]
    assert code
    assert [each for each in code if _BROWSER.search(each[1])] == []
