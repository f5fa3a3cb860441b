"""Hatchling's hook for the package's long description: README.md as a package index can show it.

An index shows the text away from the project. So links and pictures that are relative get the project's address, from
`[project.urls]` in pyproject.toml, "Source". Without one, links are left out and their texts stay, and pictures go.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"\[([^][]+)\]\((?!https?:|mailto:|#)([^)\s]+)\)")
PICTURE = re.compile(r"<picture>.*?</picture>\n*", re.DOTALL)
SOURCE = re.compile(r'(src|srcset)="(?!https?:)(docs/[^"]+)"')


class LongDescription(MetadataHookInterface):
    """Sets the field `readme`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Put it into the project's metadata."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        address = metadata.get("urls", {}).get("Source")
        metadata["readme"] = {"content-type": "text/markdown", "text": for_an_index(text, address)}


def for_an_index(text: str, address: str | None) -> str:
    """The text with links that work anywhere.

    :param address: of the project at a code host, for example ``https://host.example/someone/project``.
    """
    if address is None:
        return LINK.sub(r"\1", PICTURE.sub("", text))
    base = address.rstrip("/")
    text = LINK.sub(rf"[\1]({base}/blob/HEAD/\2)", text)
    return SOURCE.sub(rf'\1="{base}/raw/HEAD/\2"', text)
