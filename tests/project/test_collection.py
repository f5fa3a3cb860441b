"""Nothing that a test reads by the clock is made while tests are collected: it may be used many minutes later."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import ROOT

#: Calls that ask for the time, or make a thing that lasts some time from now on.
CLOCKS = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "now", "utcnow", "today", "issue", "gmtime",
          "localtime", "current_time"}  # fmt: skip
#: Programs of the tests' own run their ``main`` where they are not imported.
PROGRAM = "__name__ == '__main__'"
MODULES = sorted((ROOT / "tests").rglob("*.py"))


def called(node: ast.AST) -> str:
    """What a call calls, without what it is an attribute of."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def at_once(node: ast.AST) -> Iterator[ast.AST]:
    """What of a module runs as it is imported: all but the bodies of its functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == PROGRAM:
            continue
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            arguments = child.args
            decorators = [] if isinstance(child, ast.Lambda) else child.decorator_list
            for each in (*decorators, *arguments.defaults, *filter(None, arguments.kw_defaults)):
                yield each
                yield from at_once(each)
        else:
            yield child
            yield from at_once(child)


def by_the_clock(tree: ast.Module) -> list[str]:
    """The lines of a module that ask for the time while it is imported, by helpers of its own too."""
    helpers = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    asking = set(CLOCKS)
    while (
        found := {helper.name for helper in helpers if any(called(node) in asking for node in ast.walk(helper))}
        - asking
    ):
        asking |= found
    return [f"line {node.lineno}: {called(node)}()" for node in at_once(tree) if called(node) in asking]  # type: ignore[attr-defined]  # a call has its line


@pytest.mark.parametrize("module", MODULES, ids=[str(path.relative_to(ROOT)) for path in MODULES])
def test_no_moment_is_taken_while_tests_are_collected(module: Path) -> None:
    assert by_the_clock(ast.parse(module.read_text())) == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("import time\nNOW = time.time()", 1),
        ("def soon():\n    return time() + 1\nSOON = {'a': [soon()]}", 1),
        ("def a():\n    return issue('s')\ndef b():\n    return a()\nTOKEN = b()", 1),
        ("@pytest.mark.parametrize('x', [datetime.now()])\ndef test(x): ...", 1),
        ("def late(at=time.time()): ...", 1),
        ("class A:\n    at = time.monotonic()", 1),
        ("if True:\n    AT = f'{time.time()}'", 1),
        ("def test():\n    assert time.time()\nLATER = lambda: time.time()", 0),
        ("@pytest.fixture\ndef now():\n    return time.time()", 0),
    ],
)
def test_the_rule_finds_what_it_is_for(text: str, lines: int) -> None:
    assert len(by_the_clock(ast.parse(text))) == lines
