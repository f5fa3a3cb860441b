"""Runs a few lines of JavaScript that use the page's modules, in Node: what is pure needs no browser."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from tests.support.javascript import node
from tests.support.processes import ROOT, environment

_AROUND = """
const argument = %s;
const use = (path) => import(%s + path);
const answer = await (async () => { %s })();
console.log(JSON.stringify(answer ?? null));
"""


def run(body: str, argument: Any = None, zone: str = "UTC") -> Any:
    """What these lines return; they have `argument`, and `use(path)`, which imports a module of web/."""
    code = _AROUND % (json.dumps(argument), json.dumps((ROOT / "web").as_uri() + "/"), body)
    command = [node(), "--input-type=module", "-"]
    env = {**environment(), "TZ": zone}
    done = subprocess.run(command, input=code, capture_output=True, text=True, check=False, timeout=60, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
