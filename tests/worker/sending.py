"""What children do in tests/worker/test_processes.py; a module, since spawned ones import it."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from typing import Any

from tests.worker.app import app


def send(task_id: str) -> str:
    """Send one task, and say under which id."""
    app.tasks["add"].apply_async((1, 2), task_id=task_id)
    return task_id


#: Whatever imports the app anew takes half a second for it.
FEW, MANY = ([str(number) for number in range(count)] for count in (2, 10))


def main(kind: str, how: str, early: str) -> None:
    """Have children send a task each, in the way named; then end."""
    names = MANY if how.endswith("fork") else FEW
    library: Any = import_module("billiard" if how.startswith("billiard") else "multiprocessing")
    context = library.get_context(how.removeprefix("billiard "))
    if early == "early":
        send("early")
    if kind == "fork":
        fork()
    elif kind in ("process", "daemon"):
        children = [context.Process(target=send, args=(name,), daemon=kind == "daemon") for name in names]
        for child in children:
            child.start()
        for child in children:
            child.join()
    elif kind == "executor":
        with ProcessPoolExecutor(min(3, len(names)), mp_context=context) as executor:
            assert list(executor.map(send, names)) == names
    else:
        with context.Pool(min(3, len(names)), maxtasksperchild=1 if kind == "one for each" else None) as pool:
            assert pool.map(send, names, 1) == names
            if kind == "closed pool":  # else its processes are ended by SIGTERM
                pool.close()
                pool.join()


def fork() -> None:
    for name in MANY:
        child = os.fork()
        if not child:
            send(name)
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    main(*sys.argv[1:])
