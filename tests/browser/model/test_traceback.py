"""traceback.js: the app's own frames told from those of libraries, and nothing of the text lost."""

from __future__ import annotations

import json
import traceback

from tests.browser.model.node import run

_PARTS = """
  const { partsOf, lastOwn } = await use("model/traceback.js");
  return argument.map((text) => {
    const parts = partsOf(text);
    if (!parts) return null;
    const whole = parts.map((part) => part.frames?.map(({ text }) => text).join("\\n") ?? part.text).join("\\n");
    const last = lastOwn(parts);
    const folded = parts.filter(({ library }) => library).map(({ frames }) => frames.length);
    return { same: whole === text, last: [last.file, last.line, last.name], folded };
  });
"""

_LIB = "/usr/lib/python3.13/site-packages"
_CELERY = f"""Traceback (most recent call last):
  File "{_LIB}/celery/app/trace.py", line 453, in trace_task
    R = retval = fun(*args, **kwargs)
                 ~~~^^^^^^^^^^^^^^^^^
  File "{_LIB}/celery/app/trace.py", line 736, in __protected_call__
    return self.run(*args, **kwargs)
  File "/srv/shop/payments.py", line 31, in charge
    return gateway.charge(
        card,
    )
  File "/srv/shop/gateway.py", line 12, in charge
    session.post(url)
  File "{_LIB}/requests/sessions.py", line 637, in post
    return self.request("POST", url)
requests.exceptions.ConnectionError: no route
and a second line of it"""


def test_a_task_of_a_shop() -> None:
    assert run(_PARTS, [_CELERY]) == [
        {"same": True, "last": ["/srv/shop/gateway.py", "12", "charge"], "folded": [2, 1]}
    ]


def _fail(depth: int) -> None:
    if depth:
        _fail(depth - 1)
    try:
        json.loads("{")
    except ValueError as error:
        raise LookupError("no such order") from error


def _raised(depth: int) -> str:
    try:
        _fail(depth)
    except LookupError:
        return traceback.format_exc()
    raise AssertionError


def test_chained_and_deep_ones_as_this_python_writes_them() -> None:
    chained, deep = run(_PARTS, [_raised(0), _raised(30)])
    assert chained["same"]
    assert deep["same"]
    assert chained["last"][0] == __file__
    assert sum(chained["folded"]) >= 2


def test_what_looks_otherwise_is_left_as_it_is() -> None:
    only_libraries = _CELERY.replace("/srv/shop", _LIB)
    assert run(_PARTS, ["", "ValueError: x", "Traceback:\n  <b>here</b>", only_libraries]) == [None] * 4


def test_other_places_of_libraries() -> None:
    places = [
        "/opt/venv/lib/python3.11/asyncio/runners.py", r"C:\Python312\Lib\json\decoder.py",
        "<frozen importlib._bootstrap>",
        "/usr/lib/python3/dist-packages/celery/app/task.py",
    ]  # fmt: skip
    text = "\n".join(f'  File "{place}", line 1, in f' for place in [*places, "/app/lib/mine.py"])
    assert run(_PARTS, [text]) == [{"same": True, "last": ["/app/lib/mine.py", "1", "f"], "folded": [4]}]
