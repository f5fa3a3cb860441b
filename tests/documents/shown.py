"""What the documents show: their blocks, and which test runs each."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT

ADDRESS = "http://127.0.0.1:5556"
SOCKET = "ws://127.0.0.1:5556"

#: Fields whose values differ from run to run; what is in them has to be of the same kind only.
VARYING = {"client", "epoch", "id", "channel", "offset", "root_id", "run", "runtime", "sent", "timestamp"}

FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a document."""

    language: str
    text: str


def blocks(name: str) -> list[Block]:
    return [Block(*found) for found in FENCE.findall((ROOT / name).read_text())]


def same(documented: Any, real: Any, field: str = "") -> bool:
    """Whether ``real`` is what the document shows, but for what differs from run to run."""
    if isinstance(documented, dict) and isinstance(real, dict):
        documented, real = {"offset": 0, **documented}, {"offset": 0, **real}  # absent numbers are 0
        within = {key: "timestamp" if field == "times" else key for key in documented}
        return documented.keys() == real.keys() and all(same(documented[key], real[key], within[key]) for key in within)
    if isinstance(documented, list) and isinstance(real, list):
        return len(documented) == len(real) and all(map(same, documented, real))
    # Ids that the document's own requests choose, such as order-7, are the same in each run.
    if field in VARYING and not (isinstance(documented, str) and re.fullmatch(r"(\w+:)?\w+-\d+", documented)):
        return type(documented) is type(real)
    return bool(documented == real)


def with_commands() -> dict[str, str]:
    """An environment in which `watcher` is found."""
    return {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def documents() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "examples" / "README.md"]


def indented(name: str) -> list[Block]:
    """What is set apart by four spaces, in which commands stand."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text(), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"(?<=\n\n)(?: {4}[^\n]*\n)+(?=\n)", text)
    return [Block("indented", re.sub(r"^ {4}", "", each, flags=re.MULTILINE)) for each in found]
