"""The machine: which core runs what, what a process has used, and what to say of it all beside a figure."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

#: What is measured runs here …
SERVER_CORE = 0
#: … and everything else here: load generator, Valkey, publisher, driver.
OTHER_CORE = 1


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
    """CPU time that these processes have used so far, that of the system on their behalf included."""
    return sum(run for run, _ in _scheduled(pids)) / 1e9


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


def wanted_seconds(pids: Iterable[int]) -> float:
    """CPU time that these processes have used so far and have waited for while others had the core."""
    return sum(run + waited for run, waited in _scheduled(pids)) / 1e9


def _scheduled(pids: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Of each thread how long it ran, and how long it waited for a core, in nanoseconds."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            run, waited, _ = (task / "schedstat").read_text().split()
            yield int(run), int(waited)


class Usage:
    """CPU of a group of processes between two looks, as shares of one core."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._at = time.monotonic()
        self._used, self._wanted = cpu_seconds(pids), wanted_seconds(pids)

    def seconds(self) -> float:
        """CPU time that they have used, with the precision of the scheduler."""
        return cpu_seconds(self._pids) - self._used

    def shares(self) -> tuple[float, float]:
        """What they have had, and what they would have taken of a core of their own: 1 where they never were idle."""
        elapsed = time.monotonic() - self._at
        used = (cpu_seconds(self._pids) - self._used) / elapsed
        return used, max(used, (wanted_seconds(self._pids) - self._wanted) / elapsed)


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
