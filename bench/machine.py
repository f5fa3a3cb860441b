"""The machine: which core runs what, what a process has used, and what to say of it all beside a figure."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: What is measured runs here …
SERVER_CORE = 0
#: … and everything else here: load generator, Valkey, publisher, driver.
OTHER_CORE = 1

_TICK = os.sysconf("SC_CLK_TCK")


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Whatever is started within runs on one core, with all of its threads and children."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def family(pids: Iterable[int]) -> list[int]:
    """The processes and all that descends from them."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended meanwhile
                continue
            children.setdefault(int(after_name[1]), []).append(int(entry.name))
    found = list(pids)
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time that these processes have used so far, those of the system on their behalf included."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICK


def pss(pids: Iterable[int]) -> int:
    """Memory of these processes in bytes: what several share is counted once, by shares."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total


def rss(pids: Iterable[int]) -> int:
    """Resident memory of these processes in bytes."""
    page = os.sysconf("SC_PAGE_SIZE")
    return sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in pids)


@dataclass
class Usage:
    """CPU that a group of processes uses between two looks, as a share of one core."""

    pids: list[int]

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        self._cpu, self._at = cpu_seconds(self.pids), time.monotonic()

    def share(self) -> float:
        """Share of a core since :meth:`restart`."""
        return (cpu_seconds(self.pids) - self._cpu) / (time.monotonic() - self._at)


def description() -> str:
    """Processor, cores, kernel and Python."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return f"{model}, {os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}"
