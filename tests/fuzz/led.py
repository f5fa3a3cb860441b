"""`python -m tests.fuzz.led NAME [libFuzzer's options]`: atheris looks for bytes that upset a parser.

It is led by the branches that they reach. It has wheels for Linux only, and is no part of `make test`.
"""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    """Try one of the parsers until the options say that it is enough."""
    atheris = importlib.import_module("atheris")
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["watcher", "jwt"]):
        parsers = importlib.import_module("tests.fuzz.parsers")
    atheris.Setup(sys.argv, parsers.TARGETS[name][0])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
