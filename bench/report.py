"""From the lines of a run to tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median
from typing import Any

from bench.studies import STUDIES
from bench.workloads import WORKLOADS

_TOLD = {name: told for name, (_, told) in WORKLOADS.items()} | {name: study.told for name, study in STUDIES.items()}
Line = dict[str, Any]
Figures = dict[str, dict[str, list[float]]]  # peer → name of the figure → one value a round


def tables(lines: Iterable[Line]) -> str:
    """A table for each workload, with medians, spreads and ratios; lines of several runs are taken together."""
    heads, measured = [], dict[str, list[Line]]()
    for line in lines:
        if "machine" in line:
            heads.append(line)
        elif "left_out" not in line:
            measured.setdefault(line["workload"], []).append(line)
    parts = [_head(heads)] if heads else []
    parts += [_table(name, measured[name]) for name in _TOLD if name in measured]
    return "\n\n".join(parts)


def _head(heads: list[Line]) -> str:
    merged = {name: version for line in heads for name, version in line["versions"].items()}
    versions = "; ".join(f"{name}: {version}" for name, version in merged.items())
    return f"{heads[-1]['date']}, {heads[-1]['machine']}. {versions}."


def _table(workload: str, lines: list[Line]) -> str:
    figures: Figures = {}
    remarks: dict[str, list[str]] = {}
    for line in lines:
        for name, value in line.get("figures", {}).items():
            figures.setdefault(line["peer"], {}).setdefault(name, []).append(value)
        remarks.setdefault(line["peer"], []).extend(_remarks(line))
    names = list(dict.fromkeys(name for values in figures.values() for name in values))
    first = next(iter(remarks))
    base = figures.get(first, {}) if len(remarks) > 1 else None
    head = [""]
    for name in names:
        head += [name] if base is None else [name, f"× {first}"]
    rows = [_row(peer, figures.get(peer, {}), base, names, remarks[peer]) for peer in remarks]
    head += ["rounds", "remarks"]
    return "\n".join(
        [f"**{workload}**: {_TOLD[workload]}", "", _cells(head), _cells(["---"] * len(head)), *map(_cells, rows)]
    )


def _row(
    peer: str,
    figures: dict[str, list[float]],
    base: dict[str, list[float]] | None,
    names: list[str],
    remarks: list[str],
) -> list[str]:
    row = [peer]
    for name in names:
        values = figures.get(name, [])
        row.append(f"{_number(median(values))} ({_number(min(values))}–{_number(max(values))})" if values else "–")
        if base is not None:
            there_too = values and base.get(name) and median(base[name])
            row.append(_number(median(values) / median(base[name])) if there_too else "–")
    rounds = max((len(values) for values in figures.values()), default=0)
    return [*row, str(rounds), "; ".join(dict.fromkeys(remarks))]


def _remarks(line: Line) -> list[str]:
    """What a reader has to know before believing a figure."""
    found = []
    if "error" in line:
        found.append(f"failed: {line['error'].splitlines()[0]}")
    if line.get("saturated"):
        found.append("bounded by the load")
    if line.get("kept_up") is False:
        found.append("did not keep up")
    if line.get("lost"):
        found.append("lost messages")
    if line.get("holes"):
        found.append("holes in the sequence")
    return found


def _cells(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
