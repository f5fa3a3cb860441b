"""The module that other pages import: one small file, made of its sources, with declarations that hold."""

from __future__ import annotations

import gzip
import json
import re
import shutil
from pathlib import Path

from tests.support.bundle import TARGET, bundled
from tests.support.javascript import run
from tests.support.processes import ROOT

_LIMIT = 6_600  # bytes; lives, tries and runs are told apart in 400 of them
_WEB = ROOT / "web"
_OPTIONS = {
    "allowJs": True,
    "checkJs": True,
    "strict": True,
    "noEmit": True,
    "target": "esnext",
    "module": "esnext",
    "moduleResolution": "bundler",
    "lib": ["esnext", "dom", "dom.iterable"],
    "types": [],
}

#: What the module does is what is declared, and what is declared is enough for who uses it.
_USE = """
import type * as declared from "WEB/watcher.js";
import * as actual from "./embed/watcher.js";
import { connect, RelayError, type Task } from "WEB/watcher.js";

export const same: typeof declared = actual;

const relay = connect({ url: "https://relay.example", getToken: async () => "t", onStatus: ({ phase }) => phase });
const unwatch: () => void = relay.watch(
  "id",
  (task: Task | null, { gap }) => gap && task?.meta.current,
  (error) => error instanceof RelayError && error.code === 103,
);
const { id, token } = await relay.submit("tasks.add", [2, 3], {}, { queue: "celery" });
await relay.revoke(id, { terminate: true });
const known: Task | null = await relay.get(id);
const element = document.createElement("watcher-task");
element.connection = relay;
export const state: string | undefined = element.value?.state ?? known?.state ?? token;
unwatch();
// @ts-expect-error: a task's name is a text
relay.submit(1);
"""


def _check(folder: Path, *files: Path) -> None:
    project = folder / "tsconfig.json"
    project.write_text(json.dumps({"compilerOptions": _OPTIONS, "files": [str(file) for file in files]}))
    compiled = run("typescript", "bin/tsc", "-p", str(project))
    assert compiled.returncode == 0, compiled.stdout + compiled.stderr


def test_it_is_made_of_its_sources() -> None:
    assert TARGET.read_text() == bundled(), "run `make module`"


def test_it_stays_small_and_depends_on_nothing() -> None:
    text = TARGET.read_text()
    assert len(gzip.compress(text.encode())) < _LIMIT
    assert not re.search(r"\bimport\b(?!\.meta)|\brequire\b|innerHTML|\beval\b", text)


def test_the_page_is_type_correct(tmp_path: Path) -> None:
    _check(tmp_path, *(path for path in _WEB.rglob("*.js") if path != TARGET))


def test_the_declarations_hold(tmp_path: Path) -> None:
    shutil.copytree(_WEB / "embed", tmp_path / "embed")
    for path in (tmp_path / "embed").iterdir():
        path.write_text(path.read_text().replace('"../watcher.js"', f'"{_WEB}/watcher.js"'))
    use = tmp_path / "use.ts"
    use.write_text(_USE.replace("WEB", str(_WEB)))
    _check(tmp_path, use)
