"""The table of keys in docs/filters.md, made of the language's own; printed by ``python -m`` of this module."""

from __future__ import annotations

from typing import Final

from watcher.core.filters import KEYS

__all__ = ["BEGIN", "END", "table"]

BEGIN: Final = "<!-- of the keys: python -m tests.support.filter_keys -->"
END: Final = "<!-- end of the keys -->"
_VALUES: Final = {
    "state": "a state or a kind", "glob": "a text, or a pattern with `*`", "moment": "a moment", "bound": "a bound",
}  # fmt: skip


def table() -> str:
    """What stands between the two marks in the document."""
    rows = [
        f"| `{key.name}:` | {key.meaning} | {_VALUES[key.values]} | "
        + ", ".join(f"`{key.name}:{example}`" for example in key.examples)
        + " |"
        for key in KEYS.values()
    ]
    return "\n".join(["| key | asks for | value | for example |", "| --- | --- | --- | --- |", *rows])


if __name__ == "__main__":
    print(f"{BEGIN}\n\n{table()}\n\n{END}")  # noqa: T201 - it is a command
