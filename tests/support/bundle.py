"""Makes web/watcher.js, the one small file that other pages import, of web/embed/: `make module`.

The file is kept in the repository, so that nobody needs Node to run or to install the relay; a test says when it
doesn't stand for its sources any more.
"""

from __future__ import annotations

import sys

from tests.support.javascript import run
from tests.support.processes import ROOT

SOURCE = ROOT / "web" / "embed" / "watcher.js"
TARGET = ROOT / "web" / "watcher.js"

_BANNER = "// celery-watcher, made of embed/*.js; its types: watcher.d.ts"
_OPTIONS = ("--bundle", "--minify", "--format=esm", "--target=es2022", f"--banner:js={_BANNER}")


def bundled() -> str:
    """What web/watcher.js should be."""
    made = run("esbuild", "bin/esbuild", str(SOURCE), *_OPTIONS)
    if made.returncode:
        sys.exit(made.stderr)
    return made.stdout


if __name__ == "__main__":
    TARGET.write_text(bundled())
